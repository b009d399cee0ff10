"""`sidecar simulate`: what it prints, draws, suggests and refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sidecar.cli import main
from sidecar.config import loader
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
    assert list(found["skipped"].values()) == [1, 10, 0, 1]
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


def test_rows_that_the_library_knows_are_passed_over(
    config: Path, scored_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A policy that has seen the answers is not measured by them."""
    whole = yaml.safe_load(config.read_text())
    known = write(tmp_path / "known.jsonl", [{**row, "label": "easy"} for row in scored(60, 7)])
    assert main(["library", "build", str(known), "--output", str(tmp_path / "l.library")]) == 0
    whole["routes"]["auto"]["similarity"] = {"library": "l.library"}
    config.write_text(yaml.safe_dump(whole))
    both = tmp_path / "both.jsonl"
    both.write_text(known.read_text() + scored_file.read_text())
    capsys.readouterr()
    assert main(["simulate", str(both), "--config", str(config), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["skipped"]["in the route's library"] >= 60
    assert found["rows"] + found["skipped"]["in the route's library"] == 220
    assert found["rows"] > 100
    assert main(["simulate", str(known), "--config", str(config)]) == 1
    assert "60 are in the route's library, which knows their scores" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{tmp}/none.jsonl"], "can't read"),
        (["{file}", "--route", "nobody"], "no route is called 'nobody'; there are auto, other"),
        (["{file}", "--where", "split"], "--where takes KEY=VALUE"),
        (["{file}", "--where", "split=none"], "160 are not asked for"),
        (["{unscored}"], "1 lack one of the scores; the first of these has scores of else"),
        (["{file}", "--mix", "field"], "--mix needs rows of every `tier`"),
        (["{file}", "--suggest", "--quality", "7"], "--quality is a share"),
        (["{file}", "--output", "{tmp}/o.yaml"], "--output is of --suggest"),
        (["{file}", "--quality", "0.9"], "--quality is of --suggest"),
        (["{few}", "--suggest"], "--suggest needs at least 200 rows, not 20"),
        (["{hopeless}", "--suggest"], "huge scores 0 on all of these rows"),
        (["{few}", "--suggest", "--output", "{tmp}/none/o.yaml"], "there is no folder"),
        (["{many}", "--suggest", "--output", "{tmp}"], "can't write"),
        (["{file}", "--plot", "{tmp}/none/o.png"], "there is no folder"),
        (["{many}", "--suggest", "--quality", "1"], "none keeps 100.0% of always huge's"),
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
