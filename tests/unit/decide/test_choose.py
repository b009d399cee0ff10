"""What is decided with a reading, or with the reason why there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sidecar.config.snapshot import Price, Snapshot
from sidecar.decide import EMPTY, Question, View, choose, fall_back, plan
from sidecar.decide.lengths import BY_TASK
from sidecar.decide.observed import Mean, Observed
from sidecar.decide.price import expected, usual_output
from sidecar.errors import BadRequest, ClassifierDown, ClassifierError, ClassifierLate
from sidecar.state.observed import Observations
from sidecar.types import TASKS, Decision, Features, Hints, Outcome, Reading, Usage
from tests.support.builders import FakeAbilities, call, model, reading, rule, snapshot

CHEAP = model("cheap", 1.0)
MIDDLE = model("middle", 5.0, can=["vision"])
DEAR = model("dear", 20.0, can=["vision"])
ALL = [CHEAP, MIDDLE, DEAR]


def decide(
    over: Snapshot,
    verdict: Reading | ClassifierError,
    chances: dict[str, float],
    view: View = EMPTY,
    **kw: Any,
) -> Decision:
    request = call(**kw)
    question = plan(request, Features("hello"), over)
    assert isinstance(question, Question)
    return choose(question, request, verdict, replace(over, abilities=FakeAbilities(chances)), view)


def chances(cheap: float, middle: float, dear: float) -> dict[str, float]:
    return {"cheap": cheap, "middle": middle, "dear": dear}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(ClassifierLate("late"), "deadline"), (ClassifierDown("gone"), "classifier-down")],
)
def test_without_a_reading_the_default_answers(fault: ClassifierError, reason: str) -> None:
    decision = decide(snapshot(ALL, default="dear"), fault, {})
    assert (decision.model, decision.reason) == ("dear", reason)
    assert decision.fallbacks == ("cheap", "middle")
    assert decision.reading is None
    assert decision.steps[-1].stage == "classifier"


def test_without_a_reading_and_with_a_barred_default_the_dearest_capable_answers() -> None:
    over = snapshot(ALL, default="cheap")
    decision = decide(over, ClassifierLate("late"), {}, needs=["vision"])
    assert (decision.model, decision.fallbacks) == ("dear", ("middle",))


def test_a_decision_of_our_own_fault_falls_back_too() -> None:
    over = snapshot(ALL)
    question = plan(call(), Features("hello"), over)
    assert isinstance(question, Question)
    decision = fall_back(question, over, "classifier-down", "the decision failed")
    assert (decision.model, decision.reason) == ("dear", "classifier-down")


@pytest.mark.parametrize(
    ("likely", "picked"),
    [
        (chances(0.90, 0.95, 1.0), "cheap"),  # exactly at the floor of 0.9 * 1.0
        (chances(0.89, 0.95, 1.0), "middle"),
        (chances(0.50, 0.60, 1.0), "dear"),
        (chances(0.10, 0.09, 0.05), "cheap"),
        (chances(0.0, 0.0, 0.0), "cheap"),
    ],
)
def test_cost_quality_takes_the_cheapest_within_the_quality_of_the_best(
    likely: dict[str, float], picked: str
) -> None:
    decision = decide(snapshot(ALL, quality=0.9), reading(), likely)
    assert (decision.model, decision.reason) == (picked, "policy")


def test_fallbacks_are_the_cheap_enough_and_then_the_likely() -> None:
    decision = decide(snapshot(ALL, quality=0.9), reading(), chances(0.1, 0.95, 1.0))
    assert (decision.model, decision.fallbacks) == ("middle", ("dear", "cheap"))


def test_the_caller_may_ask_for_another_quality() -> None:
    over, likely = snapshot(ALL, quality=0.9), chances(0.6, 0.8, 1.0)
    assert decide(over, reading(), likely).model == "dear"
    assert decide(over, reading(), likely, hints=Hints(quality=0.7)).model == "middle"
    assert decide(over, reading(), likely, hints=Hints(quality=0.0)).model == "cheap"
    assert (
        decide(over, reading(), chances(0.95, 0.95, 1.0), hints=Hints(quality=1.0)).model == "dear"
    )


def test_text_unlike_the_training_data_narrows_what_is_given_up() -> None:
    over, likely = snapshot(ALL, quality=0.8), chances(0.85, 0.93, 1.0)
    assert decide(over, reading(ood=0.0), likely).model == "cheap"
    assert decide(over, reading(ood=0.5), likely).model == "middle"
    assert decide(over, reading(ood=1.0), likely).model == "dear"
    assert "unlike the training data" in decide(over, reading(ood=0.5), likely).steps[1].verdict


def test_threshold_takes_the_cheapest_that_reaches_it_else_the_likeliest() -> None:
    over = snapshot(ALL, policy="threshold", threshold=0.7)
    assert decide(over, reading(), chances(0.7, 0.9, 0.95)).model == "cheap"
    assert decide(over, reading(), chances(0.69, 0.9, 0.95)).model == "middle"
    assert decide(over, reading(), chances(0.1, 0.6, 0.5)).model == "middle"
    assert (
        decide(over, reading(), chances(0.75, 0.8, 0.95), hints=Hints(quality=0.8)).model
        == "middle"
    )
    assert decide(over, reading(ood=0.5), chances(0.75, 0.8, 0.95)).model == "dear"


def test_a_barred_model_is_neither_chosen_nor_a_fallback() -> None:
    over = snapshot(ALL, quality=0.5, default="cheap")
    decision = decide(over, reading(), chances(1.0, 0.9, 0.9), needs=["vision"])
    assert (decision.model, decision.fallbacks) == ("middle", ("dear",))
    assert [c.model for c in decision.candidates] == ["middle", "dear"]


def test_rules_that_read_come_before_the_policy() -> None:
    over = snapshot(
        ALL,
        rules=[
            rule("code", "dear", task=["code", "math"]),
            rule("law", "middle", domain="legal"),
            rule("easy", "cheap", tier="simple"),
        ],
    )
    likely = chances(1.0, 1.0, 1.0)
    assert decide(over, reading(task="math"), likely).reason == "rule:code"
    assert decide(over, reading(task="qa", domain="legal"), likely).reason == "rule:law"
    assert decide(over, reading(task="qa", tier="simple"), likely).reason == "rule:easy"
    assert decide(over, reading(task="qa", tier="complex"), likely).reason == "policy"
    assert decide(over, reading(), likely).reason == "policy"
    assert decide(over, ClassifierLate("late"), likely).reason == "deadline"


def test_a_rule_that_reads_is_passed_over_where_its_model_is_barred() -> None:
    over = snapshot(ALL, rules=[rule("code", "cheap", task="code")])
    decision = decide(over, reading(task="code"), chances(1, 1, 1), needs=["vision"])
    assert (decision.model, decision.reason) == ("middle", "policy")


def test_fixed_with_rules_that_read_stays_fixed_where_none_holds() -> None:
    over = snapshot(ALL, policy="fixed", default="middle", rules=[rule("r", "dear", task="code")])
    decision = decide(over, reading(task="qa"), {})
    assert (decision.model, decision.reason) == ("middle", "policy")
    assert decision.reading is not None
    assert decide(over, reading(task="code"), {}).reason == "rule:r"


def test_a_spending_limit_changes_the_choice_and_says_budget() -> None:
    over, likely = snapshot(ALL, quality=0.95), chances(0.5, 0.7, 1.0)
    dear = decide(over, reading(output_tokens=1000), likely)
    cost = {c.model: c.cost_usd for c in dear.candidates}
    assert (dear.model, dear.reason) == ("dear", "policy")
    limit = Hints(max_cost_usd=cost["middle"])
    decision = decide(over, reading(output_tokens=1000), likely, hints=limit)
    assert (decision.model, decision.reason) == ("middle", "budget")
    # what is too dear is no fallback either, not even as the default
    assert decision.fallbacks == ("cheap",)
    assert "dear would cost more" in "; ".join(step.verdict for step in decision.steps)


def test_a_default_that_no_policy_ranked_keeps_the_limit_too() -> None:
    over = snapshot(ALL, among=["cheap", "middle"], default="dear", quality=0.5)
    likely = chances(1, 1, 1)
    assert decide(over, reading(output_tokens=1000), likely).fallbacks == ("middle", "dear")
    limit = Hints(max_cost_usd=0.006)
    decision = decide(over, reading(output_tokens=1000), likely, hints=limit)
    assert (decision.model, decision.fallbacks) == ("cheap", ("middle",))


@pytest.mark.parametrize("fault", [ClassifierLate("late"), ClassifierDown("gone")])
def test_without_a_reading_the_limit_of_a_request_holds_as_well(fault: ClassifierError) -> None:
    """400 tokens are expected: 0.0004 USD, 0.002 and 0.008, and a little for the question."""
    over = snapshot(ALL)
    for limit, picked, reason, others in (
        (0.0100, "dear", fault.reason, ("cheap", "middle")),
        (0.0040, "middle", "budget", ("cheap",)),  # as far up as may be
        (0.0010, "cheap", "budget", ()),
    ):
        decision = decide(over, fault, {}, hints=Hints(max_cost_usd=limit))
        assert (decision.model, decision.reason, decision.fallbacks) == (picked, reason, others)
        if reason == "budget":
            stages = [step.stage for step in decision.steps]
            assert stages == ["capability", "classifier", "budget"]
    first = snapshot(ALL, default="cheap", max_cost_usd=0.004)  # the route's own limit
    assert decide(first, fault, {}).fallbacks == ("middle",)
    with pytest.raises(BadRequest, match="cheapest that can, cheap"):
        decide(over, fault, {}, hints=Hints(max_cost_usd=1e-9))
    hopeless = decide(snapshot(ALL, max_cost_usd=1e-9), fault, {})
    assert (hopeless.model, hopeless.reason, hopeless.fallbacks) == ("cheap", "budget", ())


def test_a_spending_limit_that_changes_nothing_says_nothing() -> None:
    likely = chances(0.99, 0.99, 1.0)
    limit = Hints(max_cost_usd=0.006)
    decision = decide(snapshot(ALL), reading(output_tokens=1000), likely, hints=limit)
    assert (decision.model, decision.reason) == ("cheap", "policy")
    assert "dear" not in decision.fallbacks


def test_a_spending_limit_that_nothing_meets_is_refused_with_the_least() -> None:
    limit = Hints(max_cost_usd=1e-9)
    with pytest.raises(BadRequest, match="cheapest that can, cheap, would take about") as caught:
        decide(snapshot(ALL), reading(), chances(1, 1, 1), hints=limit)
    assert caught.value.code == "max_cost_exceeded"


def test_the_expected_cost_counts_the_asked_length_as_a_bound() -> None:
    over, likely = snapshot(ALL), chances(1, 1, 1)

    def cost(asked: int | None, expected: float | None) -> float:
        decision = decide(
            over, reading(output_tokens=expected), likely, input_tokens=400, max_output_tokens=asked
        )
        return decision.candidates[0].cost_usd

    assert cost(None, 700.0) == pytest.approx((300 + 700) / 1e6)
    assert cost(100, 700.0) == pytest.approx((300 + 100) / 1e6)
    assert cost(None, None) == pytest.approx((300 + 400) / 1e6)


def test_the_default_is_a_fallback_though_the_policy_did_not_rank_it() -> None:
    over = snapshot(ALL, among=["cheap", "middle"], default="dear", quality=0.5)
    decision = decide(over, reading(), chances(1, 1, 1))
    assert decision.fallbacks == ("middle", "dear")


def test_every_stage_leaves_its_step_in_order() -> None:
    decision = decide(snapshot(ALL), reading(task="code"), chances(1, 1, 1))
    assert [step.stage for step in decision.steps] == ["capability", "classifier", "policy"]
    assert "code" in decision.steps[1].verdict


@pytest.mark.parametrize("policy", ["cost_quality", "threshold"])
def test_text_the_encoder_does_not_know_goes_to_the_dearest_whatever_it_says(policy: str) -> None:
    over = snapshot(ALL, policy=policy)
    misled = chances(0.99, 0.5, 0.4)
    assert decide(over, reading(ood=0.1), misled).model == "cheap"
    lost = decide(over, reading(ood=0.9), misled)
    assert (lost.model, lost.fallbacks) == ("dear", ("middle", "cheap"))


def test_a_routes_own_limit_keeps_to_the_affordable_and_never_refuses() -> None:
    likely = chances(0.5, 0.7, 1.0)
    plain = {c.model: c.cost_usd for c in decide(snapshot(ALL), reading(), likely).candidates}
    limited = snapshot(ALL, max_cost_usd=plain["middle"])
    decision = decide(limited, reading(), likely)
    assert (decision.model, decision.reason) == ("middle", "budget")
    hopeless = decide(snapshot(ALL, max_cost_usd=1e-12), reading(), likely)
    assert (hopeless.model, hopeless.reason) == ("cheap", "budget")
    asked = decide(limited, reading(), likely, hints=Hints(max_cost_usd=1.0))
    assert asked.model == "dear"  # the caller's limit stands in the route's place


def test_rules_alone_send_what_no_rule_names_to_the_default() -> None:
    over = snapshot(
        ALL, policy="rules", default="middle", rules=[rule("code", "dear", task="code")]
    )
    assert decide(over, reading(task="code"), {}).reason == "rule:code"
    decision = decide(over, reading(task="qa"), {})
    assert (decision.model, decision.reason) == ("middle", "default")


@pytest.mark.parametrize("policy", ["cost_quality", "threshold"])
def test_a_model_that_fails_often_loses_its_traffic(policy: str) -> None:
    over, likely = snapshot(ALL, policy=policy, quality=0.9, threshold=0.9), chances(0.95, 0.97, 1)

    def picked(reliability: float) -> str:
        view = View(observed={"cheap": Observed(reliability=reliability)})
        return decide(over, reading(), likely, view=view).model

    assert (picked(1.0), picked(0.5)) == ("cheap", "middle")


@pytest.mark.parametrize("policy", ["cost_quality", "threshold"])
def test_where_waiting_has_a_price_a_slow_model_loses_its_traffic(policy: str) -> None:
    likely = chances(0.95, 0.97, 1)
    patient, hurried = (
        snapshot(ALL, policy=policy, quality=0.9, threshold=0.9, usd_per_s=worth)
        for worth in (0.0, 0.001)
    )

    def seen(cheap: float) -> View:
        return View(observed={"cheap": Observed(first_s=cheap), "middle": Observed(first_s=1.0)})

    assert decide(hurried, reading(), likely, view=seen(1.0)).model == "cheap"
    assert decide(hurried, reading(), likely, view=seen(9.0)).model == "middle"
    assert decide(patient, reading(), likely, view=seen(9.0)).model == "cheap"


def test_cached_input_is_priced_as_cached() -> None:
    deal = replace(CHEAP, price=Price(input=10.0, cached_input=1.0, output=0.0))
    over = snapshot([deal, MIDDLE])

    def cost(cached: int) -> float:
        view = View(cached_tokens={"cheap": cached})
        decision = decide(over, reading(), chances(1, 1, 1), view=view, input_tokens=400)
        return decision.candidates[0].cost_usd

    assert cost(0) == pytest.approx(300 * 10 / 1e6)
    assert cost(100) == pytest.approx((200 * 10 + 100) / 1e6)
    assert cost(9999) == pytest.approx(300 * 1 / 1e6)  # never more than the input


def test_the_length_of_an_answer_is_what_the_model_gave_to_such_tasks() -> None:
    seen = {"cheap": Observed(output_tokens={"code": Mean(10.0, 900.0)})}
    over, view = (
        snapshot(ALL),
        View(observed=seen, lengths={"": 300.0, "math": 700.0, "code": 700.0}),
    )

    def tokens(task: str, asked: int | None = None) -> float:
        decision = decide(
            over,
            reading(task=task),
            chances(1, 1, 1),
            view=view,
            input_tokens=0,
            max_output_tokens=asked,
        )
        return decision.candidates[0].cost_usd * 1e6

    assert tokens("code") == pytest.approx(800)  # halfway from what is usual, after ten answers
    assert tokens("math") == pytest.approx(700)  # as all models' answers to such tasks
    assert tokens("qa") == pytest.approx(BY_TASK["qa"])  # as is assumed of such answers
    assert tokens("classification") < tokens("qa") < tokens("creative_writing")
    assert tokens("code", asked=50) == pytest.approx(50)


def test_every_task_has_an_assumed_length_until_answers_are_seen() -> None:
    assert set(BY_TASK) == set(TASKS)
    assert usual_output(None, "", EMPTY) == 400.0
    assert usual_output(None, "code", EMPTY) == BY_TASK["code"]
    assert usual_output(reading(output_tokens=33), "code", EMPTY) == 33
    observed = Observations()
    for _ in range(200):
        observed.remember(call(), DECIDED, ANSWERED, ("cheap",), 1e9)
    learnt = observed.lengths(1e9 + 60)
    assert learnt["code"] == pytest.approx(100, rel=0.25)  # as the answers were
    assert "qa" not in learnt  # which say nothing of other tasks


DECIDED = Decision("cheap", "auto", "policy", reading=reading(task="code"))
ANSWERED = Outcome("cheap", "policy", 200, 1, 9, Usage(50, 0, 100), "complete", 5.0, 9.0)


def test_each_of_several_answers_is_priced_and_none_takes_longer_for_the_others() -> None:
    """Four choices of one request are written, and charged for, four times."""
    over = snapshot(ALL, default="dear")
    slow = {"middle": Observed(first_s=1.0, token_s=0.01, output_tokens={"code": Mean(1e9, 50.0)})}
    for view in (EMPTY, View(observed=slow)):
        one, four = (
            decide(over, reading(task="code"), chances(1, 1, 1), view, input_tokens=0, choices=n)
            for n in (1, 4)
        )
        for single, several in zip(one.candidates, four.candidates, strict=True):
            assert several.cost_usd == pytest.approx(4 * single.cost_usd)
            assert several.latency_s == single.latency_s
    request, of_all = call(input_tokens=0, max_output_tokens=30), call(input_tokens=0, choices=4)
    of_all = replace(of_all, max_output_tokens=30)
    asked = [expected(each, DEAR, None, EMPTY) for each in (request, of_all)]
    assert asked == pytest.approx([30 * 20 / 1e6, 4 * 30 * 20 / 1e6])
