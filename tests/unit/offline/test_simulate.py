"""What a route would have cost and kept: the same decisions, counted fairly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.schema import Cascade, Learning
from sidecar.decide import Question, plan
from sidecar.encoder.abilities import Ability, Catalogue
from sidecar.errors import DataError
from sidecar.features import features_of
from sidecar.offline.simulate import Check, Study, settings_of, stand_in, turned, variants
from sidecar.offline.simulate_report import at_cost
from sidecar.offline.simulate_rows import Case
from sidecar.offline.simulate_setup import mixed
from sidecar.types import Hints, Reading
from tests.support.builders import FakeAbilities, call, model, reading, snapshot

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
    ends = {"cost_quality": (1e-6, 10.0), "threshold": (0.01, 1.0)}
    for name, route in variants(over.route, over.snapshot).items():
        if name in ends:
            low, high = (over.play(turned(route, setting)) for setting in ends[name])
            assert low.cost.sum() < high.cost.sum()


def test_what_an_answer_is_worth_is_tried_where_decisions_change() -> None:
    pairs = [case(1, 1, id=str(i)) for i in range(40)]
    cases, readings = zip(*pairs, strict=True)
    readings = [replace(said, demand=(at / 10 - 2,)) for at, said in enumerate(readings)]
    abilities = [Ability("small", (-1.0,), 0.0, 0.5), Ability("large", (-1.0,), 2.0, 0.9)]
    whole = replace(snapshot([SMALL, LARGE]), abilities=Catalogue(abilities, {}, 1, "test"))
    over = Study(cases, readings, whole.routes["auto"], whole)
    route = variants(over.route, over.snapshot)["cost_quality"]
    settings = settings_of(over, route, 6)
    assert settings == sorted(settings)
    dear = [over.play(turned(route, setting)).models["large"] for setting in settings]
    assert dear == sorted(dear)
    assert dear[0] < 0.15
    assert dear[-1] > 0.85
    assert len(set(dear)) == len(dear)  # every step changes decisions


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
