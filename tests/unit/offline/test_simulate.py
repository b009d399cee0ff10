"""What a route would have cost and kept: the same decisions, counted fairly."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cli import main
from sidecar.config import loader
from sidecar.config.schema import Cascade, Learning
from sidecar.decide import Question, plan
from sidecar.encoder.abilities import Ability, Catalogue
from sidecar.errors import DataError
from sidecar.features import features_of
from sidecar.offline.simulate import Check, Study, stand_in, turned, variants
from sidecar.offline.simulate_report import at_cost
from sidecar.offline.simulate_rows import Case
from sidecar.offline.simulate_setup import mixed
from sidecar.types import Hints, Reading
from tests.support.builders import FakeAbilities, call, model, reading, snapshot
from tests.unit.offline.conftest import scored, write

CONFIG = """\
upstreams:
  local: {base_url: http://127.0.0.1:9001/v1}
models:
  tiny: {upstream: local, ability: llama-3.1-8b-instruct, price: {input: 1, output: 1}}
  huge: {upstream: local, ability: gpt-4o-2024-08-06, price: {input: 10, output: 10}}
routes:
  auto: {models: [tiny, huge], default: huge, quality: 0.9}
  other: {policy: fixed, models: [tiny], default: tiny}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "sidecar.yaml"
    file.write_text(CONFIG)
    return file


def run(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main(["simulate", *map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# -- the study ------------------------------------------------------------------------

SMALL, LARGE = model("small", 1.0), model("large", 10.0)


def case(small: float, large: float, hard: bool = False, **labels: str) -> tuple[Case, Reading]:
    request = call(user="hard" if hard else "easy", input_tokens=0)
    made = Case(
        labels.get("id", f"{small}{large}{hard}"), request, features_of(request.prompt),
        {"small": small, "large": large}, {}, labels,
    )  # fmt: skip
    return made, reading(output_tokens=100)


def study(*pairs: tuple[Case, Reading], **route: Any) -> Study:
    over = replace(
        snapshot([SMALL, LARGE], **route), abilities=FakeAbilities({"small": 0.6, "large": 0.9})
    )
    cases, readings = zip(*pairs, strict=True)
    return Study(cases, readings, over.routes["auto"], over)


def test_the_strategies_that_need_no_policy_are_what_their_names_say() -> None:
    over = study(case(1, 1), case(0, 1), case(0, 0), case(1, 0))
    figures = {name: over.figures(over.baseline(name)) for name in ("always_strong", "always_weak")}
    assert figures["always_strong"]["quality"] == 0.5
    assert figures["always_strong"]["retention"] == 1.0
    assert figures["always_strong"]["cost_cut"] == 0.0
    assert figures["always_strong"]["cost_usd"] == pytest.approx(4 * 100 * 10 / 1e6)
    assert figures["always_weak"]["cost_cut"] == pytest.approx(0.9)
    random = over.figures(over.baseline("random"))
    assert random["quality"] == pytest.approx(0.5)
    assert random["cost_cut"] == pytest.approx(0.45)
    oracle = over.figures(over.baseline("oracle"))
    assert oracle["quality"] == 0.75
    # the best one where they differ, the cheapest where they do not
    assert oracle["models"] == {"small": 0.75, "large": 0.25}


def test_a_policy_is_played_by_the_code_that_serves() -> None:
    pairs = [case(1, 1), case(0, 1)]
    assert over_models(study(*pairs, quality=0.6)) == {"small": 1.0, "large": 0.0}
    assert over_models(study(*pairs, quality=0.7)) == {"small": 0.0, "large": 1.0}


def over_models(over: Study) -> dict[str, float]:
    played = over.play(over.route)
    assert sum(played.reasons.values()) == len(over.cases)
    return dict(played.models)


def test_a_request_that_would_be_refused_is_worth_nothing_and_costs_nothing() -> None:
    made, said = case(1, 1)
    poor = replace(made, call=replace(made.call, hints=Hints(max_cost_usd=1e-12)))
    over = study((poor, said), case(1, 1))
    played = over.play(over.route)
    assert (played.refused, played.reasons["max_cost_exceeded"]) == (1, 1)
    assert over.figures(played)["quality"] == 0.5


def test_a_cascades_rejected_tries_are_paid_for_twice() -> None:
    """Small is tried first at a tenth of the price; the check rejects by stated rates."""
    rates = {"policy": "cascade", "quality": 1.0, "cascade": Cascade(try_above=0.5)}
    pairs = [case(1, 1), case(0, 1), case(0.5, 1)]
    plain, strong = study(*pairs, **rates), 100 * 10 / 1e6
    blind = Study(plain.cases, plain.readings, plain.route, plain.snapshot, Check(0.0, 0.0))
    played = blind.play(blind.route)
    assert played.chosen == ("small",) * 3
    assert (played.asked_twice, played.score.tolist()) == (0.0, [1, 0, 0.5])
    assert played.cost.tolist() == pytest.approx([0.1 * strong] * 3)
    sharp = Study(plain.cases, plain.readings, plain.route, plain.snapshot, Check(1.0, 0.2))
    played = sharp.play(sharp.route)
    assert played.cost.tolist() == pytest.approx([0.3 * strong, 1.1 * strong, 0.7 * strong])
    assert played.score.tolist() == pytest.approx([1.0, 1.0, 0.4 + 0.6])
    assert played.asked_twice == pytest.approx((0.2 + 1.0 + 0.6) / 3)
    assert sharp.figures(played)["asked_twice"] == pytest.approx(0.6)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6),
    st.floats(0.01, 1.0), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 10.0),
)  # fmt: skip
def test_a_cascade_never_costs_more_than_always_strong_by_more_than_its_bound(
    scores: list[tuple[float, float]], overhead: float, hit: float, alarm: float, price: float
) -> None:
    models = [model("small", price), model("large", 10.0)]
    rules = Cascade(try_above=0.5, max_overhead=overhead)
    over = snapshot(models, policy="cascade", quality=1.0, cascade=rules)
    over = replace(over, abilities=FakeAbilities({"small": 0.6, "large": 0.9}))
    cases, readings = zip(*(case(*pair) for pair in scores), strict=True)
    found = Study(cases, readings, over.routes["auto"], over, Check(hit, alarm))
    played = found.play(found.route)
    assert (played.cost <= (1 + overhead) * found.costs[:, found.strong] * (1 + 1e-9)).all()


def test_a_bandit_draws_from_a_seed() -> None:
    abilities = [Ability("small", (0.4,), 1.0, 0.5), Ability("large", (0.1,), 1.5, 0.9)]
    pairs = [case(1, 1, id=str(i)) for i in range(40)]
    cases, readings = zip(*pairs, strict=True)
    readings = [replace(said, demand=(0.3,)) for said in readings]
    over = snapshot([SMALL, LARGE], policy="bandit", quality=0.95)
    over = replace(over, abilities=Catalogue(abilities, {}, 1, "test"))
    found = Study(cases, readings, over.routes["auto"], over)
    first, again = found.play(found.route), found.play(found.route)
    assert set(first.chosen) == {"small", "large"}  # one prompt, asked forty times
    assert first.chosen == again.chosen
    other = replace(over, config=over.config.model_copy(update={"learning": Learning(seed=7)}))
    reseeded = Study(cases, readings, other.routes["auto"], other)
    assert reseeded.play(reseeded.route).chosen != first.chosen


def test_what_a_row_says_of_its_answers_is_what_they_cost() -> None:
    made, said = case(1, 1)
    over = study((replace(made, output_tokens={"small": 7.0}), said))
    assert over.costs[0].tolist() == pytest.approx([7 * 1 / 1e6, 100 * 10 / 1e6])


def test_the_knob_of_each_policy_goes_from_cheap_to_good() -> None:
    over = study(case(1, 1), case(0, 1))
    for name, route in variants(over.route, over.snapshot).items():
        if name in ("cost_quality", "threshold"):
            low, high = (over.play(turned(route, setting)) for setting in (0.01, 1.0))
            assert low.cost.sum() < high.cost.sum()


def test_rules_stand_in_for_a_route_that_has_none() -> None:
    over = study(case(1, 1))
    route = stand_in(over.route, over.snapshot)
    from types import MappingProxyType

    by_rules = replace(over.snapshot, routes=MappingProxyType({"auto": route}))

    def goes(text: str, tokens: int = 10) -> str:
        request = call(user=text, input_tokens=tokens)
        decision = plan(request, features_of(request.prompt), by_rules)
        assert not isinstance(decision, Question)
        return decision.model

    assert goes("hello") == "small"
    assert goes("Prove that it holds") == "large"
    assert goes("hello", 5000) == "large"


def test_at_equal_cost_a_policy_is_compared_by_what_can_be_drawn_between_its_settings() -> None:
    over = study(case(0, 1), case(0, 1))
    weak, strong = over.mean(over.costs[:, 0]), over.mean(over.costs[:, 1])
    middle = (weak + strong) / 2
    assert at_cost([], over, middle) == pytest.approx(0.5)  # between always-weak and -strong
    assert at_cost([{"cost_usd": middle, "quality": 0.8}], over, middle) == pytest.approx(0.8)
    assert at_cost([{"cost_usd": middle, "quality": 0.2}], over, middle) == pytest.approx(0.5)
    assert over.random_at(middle) == pytest.approx(0.5)


def test_the_mix_gives_each_tier_its_share() -> None:
    made = [case(1, 1, tier=t)[0] for t in ("simple", "complex", "simple", "moderate", "other")]
    weights: dict[str, float] = {}
    for one in mixed(made):
        tier = one.labels["tier"]
        weights[tier] = weights.get(tier, 0.0) + one.weight
    assert weights == pytest.approx({"simple": 0.5, "moderate": 0.3, "complex": 0.2})
    with pytest.raises(DataError, match="none is 'moderate'"):
        mixed([case(1, 1, tier="simple")[0]])


def test_summaries_take_their_place_in_the_mix_where_there_are_any() -> None:
    tiers = ("simple", "complex", "moderate", "moderate", "simple")
    made = [case(1, 1, tier=t)[0] for t in tiers]
    made += [case(1, 1, tier=t, task="summarization")[0] for t in ("simple", "moderate")]
    weights: dict[tuple[str, bool], float] = {}
    for one in mixed(made):
        key = (one.labels["tier"], "task" in one.labels)
        weights[key] = weights.get(key, 0.0) + one.weight
    assert weights == pytest.approx(
        {
            ("simple", False): 0.5,
            ("simple", True): 0.15,
            ("moderate", True): 0.15,
            ("complex", False): 0.2,
        }
    )


# -- the command ----------------------------------------------------------------------


def test_simulate_prints_every_strategy_beside_the_routes_own(
    config: Path, scored_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, scored_file, "--config", config)
    assert found["rows"] == 160
    assert (found["route"], found["policy"]) == ("auto", "cost_quality")
    names = set(found["policies"])
    assert {"cost_quality", "threshold", "fixed", "rules"} <= names
    assert {"random", "always_weak", "always_strong", "oracle"} <= names
    for figures in found["policies"].values():
        assert {"cost_usd", "quality", "retention", "cost_cut"} <= figures.keys()
    policies = found["policies"]
    assert policies["fixed"]["quality"] == policies["always_strong"]["quality"]
    assert policies["oracle"]["quality"] >= max(p["quality"] for p in policies.values())
    assert found["models"]["tiny"]["scores"] == "tiny"
    assert main(["simulate", str(scored_file), "--config", str(config)]) == 0
    assert "quality kept" in capsys.readouterr().out


def test_rows_are_chosen_by_what_they_say_and_the_rest_is_counted(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"split": "test" if i % 2 else "train"} for i, row in enumerate(scored(20))]
    rows += [{"id": "u", "prompt": "hi", "split": "test", "scores": {"tiny": 1}}]
    rows += [{"id": "b", "split": "test", "scores": {"tiny": 1, "huge": 1}}]
    found = run(
        capsys, write(tmp_path / "in.jsonl", rows), "--config", config, "--where", "split=test"
    )
    assert found["rows"] == 10
    assert list(found["skipped"].values()) == [1, 10, 1]
    few = run(capsys, tmp_path / "in.jsonl", "--config", config, "--limit", 4)
    assert few["rows"] == 4


def test_scores_are_found_by_any_name_of_their_model(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {"Meta-Llama-3.1-8B-Instruct": 0.25, "gpt-4o-2024-08-06@other": 1.0}
    file = write(tmp_path / "in.jsonl", [{"id": 1, "prompt": "hi", "scores": scores}])
    found = run(capsys, file, "--config", config)
    assert {name: m["scores"] for name, m in found["models"].items()} == {
        "tiny": "Meta-Llama-3.1-8B-Instruct",
        "huge": "gpt-4o-2024-08-06@other",
    }


@pytest.mark.parametrize(
    "said",
    [
        {"output_tokens": -1}, {"output_tokens": True}, {"output_tokens": "9"},
        {"output_tokens": float("nan")}, {"output_tokens": {"tiny": float("inf")}},
        {"time": "soon"}, {"time": "0001-01-01"}, {"headers": {"a": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_a_row_that_cannot_have_been_is_left_out_and_counted(
    said: dict[str, Any], config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "in.jsonl", [*scored(4), scored(5)[4] | said])
    found = run(capsys, file, "--config", config)
    assert (found["rows"], found["skipped"]["faulty"]) == (4, 1)
    assert all(math.isfinite(each["cost_usd"]) for each in found["policies"].values())


@pytest.mark.parametrize("limit", ["0", "-3", "some"])
def test_a_limit_of_no_rows_is_refused(
    limit: str, config: Path, scored_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["simulate", str(scored_file), "--config", str(config), "--limit", limit])
    assert "--limit" in capsys.readouterr().err


def test_another_route_is_simulated_by_its_name(
    config: Path, scored_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, scored_file, "--config", config, "--route", "other")
    assert found["policy"] == "fixed"
    assert found["policies"]["fixed"]["cost_cut"] == 0.0


def test_a_row_is_the_request_it_says_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "sidecar.yaml"
    rules = [
        {"name": "tenant", "when": {"tenant": "a"}, "model": "tiny"},
        {"name": "night", "when": {"time": {"start": "22:00", "end": "06:00"}}, "model": "tiny"},
        {"name": "team", "when": {"headers": {"x-team": "b"}}, "model": "tiny"},
        {"name": "tools", "when": {"needs": "tools"}, "model": "tiny"},
    ]
    whole = yaml.safe_load(CONFIG)
    whole["routes"]["auto"] |= {"policy": "rules", "rules": rules}
    for each in whole["models"].values():
        each["capabilities"] = ["tools"]
    config.write_text(yaml.safe_dump(whole))
    tool = {"type": "function", "function": {"name": "f"}}
    said = [
        {"headers": {"X-Router-Tenant": "a"}},
        {"time": "2026-11-20T23:00:00+00:00"},
        {"headers": {"X-Team": "b"}},
        {"tools": [tool]},
        {},
    ]
    scores = {"tiny": 1, "huge": 1}
    rows = [{"id": i, "prompt": "hi", "scores": scores, **each} for i, each in enumerate(said)]
    found = run(capsys, write(tmp_path / "in.jsonl", rows), "--config", config)
    assert found["policies"]["rules"]["reasons"] == {
        "rule:tenant": 1, "rule:night": 1, "rule:team": 1, "rule:tools": 1, "default": 1,
    }  # fmt: skip


def test_simulate_draws_the_curves(config: Path, scored_file: Path, tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"
    words = ["simulate", str(scored_file), "--config", str(config), "--limit", "20"]
    assert main([*words, "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("task", ["qa", "summarization"])
def test_the_fields_mix_stands_beside_what_is_published_and_says_what_can_be_compared(
    config: Path, tmp_path: Path, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiers = ("simple", "moderate", "complex")
    rows = [{**row, "tier": tiers[i % 3]} for i, row in enumerate(scored(60))]
    rows += [{**row, "id": f"s{row['id']}", "task": task} for row in scored(10, seed=3)]
    file = write(tmp_path / "in.jsonl", rows)
    words = ["simulate", str(file), "--config", str(config), "--mix", "field"]
    assert main(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    for row in ("published: rule-based 94.0% 76.0%", "published: ensemble 98.0% 88.0%"):
        assert row in said
    assert "Not comparable are the prompts, the models and their prices" in said
    middle = "10 rows for 30%" if task == "summarization" else "20 rows for 30%"
    assert f"20 rows for 50%, {middle}, 20 rows for 20%" in said
    assert ("stand in for summaries" in said) is (task == "qa")
    found = run(capsys, *words[1:])
    assert [each["cost_cut"] for each in found["published"]] == [0.76, 0.83, 0.86, 0.88]
    assert found["rows"] == (50 if task == "summarization" else 60)


def test_every_policy_that_needs_no_file_stands_side_by_side_with_a_curve(
    config: Path, scored_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, scored_file, "--config", config, "--limit", "60", "--curves")
    policies = {"cost_quality", "threshold", "bandit", "cascade"}
    assert policies | {"fixed", "rules"} < set(found["policies"])
    assert set(found["curves"]) == policies
    for name, line in found["curves"].items():
        costs = [point["cost_usd"] for point in line]
        assert costs[0] < costs[-1], name
        assert len({point["setting"] for point in line}) == len(line)
    # where a cascade tries nothing any more it is the policy that it goes on with
    sure = found["curves"]["cascade"][-1]["cost_usd"]
    whole = found["policies"]["cost_quality"]["cost_usd"] / found["rows"]
    assert sure == pytest.approx(whole, rel=0.02)


def test_suggest_writes_the_cheapest_config_that_keeps_the_quality(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "in.jsonl", scored(300))
    out = tmp_path / "suggested.yaml"
    words = [file, "--config", config, "--suggest", "--quality", "0.9", "--output", out]
    found = run(capsys, *words)
    assert found["chosen_on"]["retention"] >= 0.9
    assert found["chosen_on"]["rows"] + found["held_out"]["rows"] == 300
    low, high = found["held_out"]["retention_95"]
    assert low <= found["held_out"]["retention"] <= high
    assert out.read_text() == found["config"]
    # what was written is a configuration, and does on the whole what was said of its halves
    assert main(["check", str(out)]) == 0
    capsys.readouterr()
    again = run(capsys, file, "--config", out)
    assert again["policy"] == found["policy"]
    halves = [found[half]["cost_usd"] for half in ("chosen_on", "held_out")]
    assert again["policies"][found["policy"]]["cost_usd"] == pytest.approx(sum(halves))


def test_a_suggestion_written_elsewhere_names_the_same_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there" / "deeper"
    (here / "made").mkdir(parents=True)
    there.mkdir(parents=True)
    rows = write(here / "in.jsonl", scored(240))
    labelled = [{**row, "label": "easy"} for row in scored(60, seed=2)]
    known = write(here / "known.jsonl", labelled)
    made = here / "made" / "prompts.library"
    assert main(["library", "build", str(known), "--output", str(made)]) == 0
    capsys.readouterr()
    common = write(here / "common.jsonl", [{"id": 1, "prompt": "hello"}])
    (here / "prices.json").write_text('{"tiny": {"input": 1, "output": 1}}')
    whole = yaml.safe_load(CONFIG)
    whole["routes"]["auto"]["similarity"] = {"library": "made/prompts.library"}
    whole["routes"]["other"]["similarity"] = {"library": str(made)}
    whole |= {
        "prices": {"file": "prices.json"},
        "decision_cache": {"common": "common.jsonl"},
        "learning": {"file": "learnt.json"},
        "spending": {"file": "spent.sqlite"},
        "drift": {"reference": "reference.json"},
    }
    config, out = here / "sidecar.yaml", there / "suggested.yaml"
    config.write_text(yaml.safe_dump(whole))
    run(capsys, rows, "--config", config, "--suggest", "--quality", "0.9", "--output", out)
    assert main(["check", str(out)]) == 0
    found = yaml.safe_load(out.read_text())

    def at(of: dict[str, Any], folder: Path) -> dict[str, Path]:
        named = {
            "library": of["routes"]["auto"]["similarity"]["library"],
            "other": of["routes"]["other"]["similarity"]["library"],
            "prices": of["prices"]["file"],
            "common": of["decision_cache"]["common"],
            "learning": of["learning"]["file"],
            "spending": of["spending"]["file"],
            "drift": of["drift"]["reference"],
        }
        return {what: (folder / name).resolve() for what, name in named.items()}

    assert at(found, there) == at(whole, here)
    assert at(found, there)["common"] == common
    assert found["routes"]["other"]["similarity"]["library"] == str(made)  # as it was written


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{tmp}/none.jsonl"], "can't read"),
        (["{file}", "--route", "nobody"], "no route is called 'nobody'; there are auto, other"),
        (["{file}", "--where", "split"], "--where takes KEY=VALUE"),
        (["{file}", "--where", "split=none"], "160 are not asked for"),
        (["{unscored}"], "1 lack one of the scores"),
        (["{file}", "--mix", "field"], "--mix needs rows of every `tier`"),
        (["{file}", "--suggest", "--quality", "7"], "--quality is a share"),
        (["{few}", "--suggest"], "--suggest needs at least 200 rows, not 20"),
        (["{hopeless}", "--suggest"], "huge scores 0 on all of these rows"),
        (["{many}", "--suggest", "--output", "{tmp}/none/o.yaml"], "can't write"),
    ],
)
def test_bad_input_ends_with_a_sentence(
    words: list[str],
    said: str,
    config: Path,
    scored_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unscored = write(tmp_path / "u.jsonl", [{"id": 1, "prompt": "x", "scores": {"else": 1}}])
    few = write(tmp_path / "few.jsonl", scored(20))
    nothing = [{**row, "scores": {"tiny": 0, "huge": 0}} for row in scored(240)]
    names = {
        "tmp": tmp_path, "file": scored_file, "unscored": unscored, "few": few,
        "hopeless": write(tmp_path / "hopeless.jsonl", nothing),
        "many": write(tmp_path / "many.jsonl", scored(260)),
    }  # fmt: skip
    typed = [word.format(**names) for word in words]
    assert main(["simulate", *typed, "--config", str(config)]) == 1
    assert said in capsys.readouterr().err


def test_the_decision_is_that_of_one_prompt_alone(
    config: Path, scored_file: Path, tmp_path: Path
) -> None:
    """In a batch the encoder's activations round differently: a study reads one by one."""
    from sidecar.offline.simulate_setup import prepare
    from sidecar.offline.simulate_setup import study as read

    setup = prepare(scored_file, config, None, where={}, limit=12)
    found = read(setup)
    for one, seen in zip(setup.cases, found.readings, strict=True):
        assert setup.session.read([one.features.window])[0] == seen
    loaded = loader.load(config, setup.session.catalogue)
    assert loaded.digest == setup.snapshot.digest
    assert np.isfinite(found.costs).all()
