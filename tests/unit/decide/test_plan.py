"""What is decided before anything reads the prompt, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.config.snapshot import Snapshot
from sidecar.decide import Question, View, plan
from sidecar.errors import NoCapableModel, NotFound
from sidecar.types import Decision, Features
from tests.support.builders import call, model, rule, snapshot

TEXT = Features("hello")
EMPTY = Features("", empty=True)
SMALL = model("small", 0.1, can=["tools"], context=1000)
LARGE = model("large", 10.0, can=["tools", "vision"], context=9000)
BOTH = snapshot([SMALL, LARGE])


def decide(
    over: Snapshot, pinned: str | None = None, features: Features = TEXT, **kw: Any
) -> Decision:
    decision = plan(call(**kw), features, over, View(pinned))
    assert isinstance(decision, Decision)
    return decision


def ask(over: Snapshot, **kw: Any) -> Question:
    question = plan(call(**kw), TEXT, over)
    assert isinstance(question, Question)
    return question


def test_the_kill_switch_comes_before_everything() -> None:
    rules = snapshot([SMALL, LARGE], rules=[rule("r", "large", keywords="hello")])
    for name in ("auto", "large", "small"):
        decision = decide(rules, pinned="small", model=name)
        assert (decision.model, decision.reason) == ("small", "kill-switch")
        assert decision.fallbacks == ()
    assert decide(rules, pinned="small").route == "auto"
    assert decide(rules, pinned="small", model="large").route == "-"


def test_the_kill_switch_does_not_make_an_unknown_model_known() -> None:
    with pytest.raises(NotFound):
        plan(call("gpt-9"), TEXT, BOTH, View(pinned="small"))


def test_the_kill_switch_does_not_make_a_model_see() -> None:
    with pytest.raises(NoCapableModel, match="small has no vision"):
        plan(call(needs=["vision"]), TEXT, BOTH, View(pinned="small"))


def test_a_named_model_answers_alone() -> None:
    decision = decide(BOTH, model="small")
    assert (decision.model, decision.route, decision.reason) == ("small", "-", "explicit")
    assert decision.fallbacks == ()


def test_a_named_model_that_lacks_something_is_refused_and_not_replaced() -> None:
    with pytest.raises(NoCapableModel, match="small has no vision"):
        plan(call("small", needs=["vision"]), TEXT, BOTH)


def test_an_unknown_model_is_told_what_there_is() -> None:
    with pytest.raises(NotFound, match=r"'gpt-9'.*auto, large, small") as caught:
        plan(call("gpt-9"), TEXT, BOTH)
    assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


def test_what_is_left_to_decide_holds_only_the_capable() -> None:
    assert [m.name for m in ask(BOTH).capable] == ["small", "large"]
    third = snapshot([SMALL, LARGE, model("seer", 5.0, can=["vision"])])
    question = ask(third, needs=["vision"])
    assert [m.name for m in question.capable] == ["large", "seer"]
    assert question.able.barred == {"small"}
    assert question.steps[0].stage == "capability"
    assert "small has no vision" in question.steps[0].verdict


def test_one_capable_model_of_several_is_a_capability_decision() -> None:
    decision = decide(BOTH, needs=["vision"])
    assert (decision.model, decision.reason, decision.fallbacks) == ("large", "capability", ())


@pytest.mark.parametrize(
    ("kw", "left"),
    [
        ({"input_tokens": 1000}, "question"),
        ({"input_tokens": 1001}, "large"),
        ({"input_tokens": 900, "max_output_tokens": 100}, "question"),
        ({"input_tokens": 900, "max_output_tokens": 101}, "large"),
    ],
)
def test_the_context_window_holds_the_input_and_the_asked_output(
    kw: dict[str, int], left: str
) -> None:
    outcome = plan(call(**kw), TEXT, BOTH)
    assert (outcome.model if isinstance(outcome, Decision) else "question") == left


def test_a_model_of_another_dialect_is_not_capable() -> None:
    claude = model("claude", 5.0, family="anthropic")
    assert decide(snapshot([SMALL, claude])).model == "small"
    with pytest.raises(NoCapableModel, match="claude has no chat dialect"):
        plan(call(), TEXT, snapshot([claude]))


def test_where_none_is_capable_it_says_what_each_lacks() -> None:
    with pytest.raises(NoCapableModel) as caught:
        plan(call(needs=["audio"], input_tokens=5000), TEXT, BOTH)
    said = str(caught.value)
    assert "small has no audio, room for 5000 tokens" in said
    assert "large has no audio" in said
    assert caught.value.status == 400
    assert caught.value.code == "no_capable_model"


def test_a_rule_comes_before_the_policy_and_keeps_fallbacks() -> None:
    over = snapshot([SMALL, LARGE], rules=[rule("math", "large", keywords=["integral", "PROOF"])])
    decision = decide(over, user="give a proof")
    assert (decision.model, decision.reason) == ("large", "rule:math")
    assert decision.fallbacks == ("small",)
    ask(over, user="hello")


def test_the_first_rule_that_holds_wins() -> None:
    over = snapshot(
        [SMALL, LARGE],
        rules=[rule("a", "small", keywords="cat"), rule("b", "large", keywords="dog")],
    )
    assert decide(over, user="dog and cat").reason == "rule:a"
    assert decide(over, user="dog").reason == "rule:b"


def test_a_rule_to_a_model_that_lacks_something_is_passed_over() -> None:
    over = snapshot(
        [SMALL, LARGE],
        rules=[rule("a", "small", keywords="cat"), rule("b", "large", keywords="cat")],
    )
    assert decide(over, user="cat", needs=["vision"]).reason == "rule:b"


def test_a_rule_may_name_a_model_outside_the_list() -> None:
    over = snapshot([SMALL, LARGE], among=["small"], rules=[rule("r", "large", keywords="cat")])
    decision = decide(over, user="cat")
    assert (decision.model, decision.fallbacks) == ("large", ("small",))


def test_a_rule_that_asks_the_encoder_waits_for_it() -> None:
    over = snapshot([SMALL, LARGE], rules=[rule("r", "large", task="code")])
    ask(over)
    only = snapshot([SMALL, LARGE], policy="fixed", rules=[rule("r", "small", tier="simple")])
    assert isinstance(plan(call(), TEXT, only), Question)


def test_a_rule_that_asks_nothing_of_the_encoder_is_judged_before_one_that_does() -> None:
    over = snapshot(
        [SMALL, LARGE],
        rules=[rule("read", "large", task="code"), rule("now", "small", keywords="hello")],
    )
    assert decide(over).reason == "rule:now"


def test_fixed_is_the_default_and_the_others_stand_in_in_order() -> None:
    third = model("third", 1.0)
    over = snapshot([SMALL, LARGE, third], policy="fixed", default="large")
    decision = decide(over)
    assert (decision.model, decision.reason) == ("large", "policy")
    assert decision.fallbacks == ("small", "third")


def test_fixed_with_a_barred_default_goes_up_and_not_down() -> None:
    blind = model("blind", 99.0)
    over = snapshot([SMALL, LARGE, model("seer", 5.0, can=["vision"]), blind], policy="fixed")
    decision = decide(over, needs=["vision"])
    assert (decision.model, decision.fallbacks) == ("large", ("seer",))


def test_a_route_of_one_model_is_its_policy() -> None:
    decision = decide(snapshot([SMALL]))
    assert (decision.model, decision.reason) == ("small", "policy")


def test_an_empty_text_goes_to_the_default() -> None:
    decision = decide(BOTH, features=EMPTY, user="")
    assert (decision.model, decision.reason) == ("large", "default")
    assert decision.fallbacks == ("small",)


def test_an_empty_text_does_not_wait_for_rules_that_read() -> None:
    over = snapshot([SMALL, LARGE], rules=[rule("r", "small", task="code")])
    assert decide(over, features=EMPTY, user="").reason == "default"


def test_a_capable_default_outside_the_list_serves_when_the_list_cannot() -> None:
    over = snapshot([SMALL, LARGE], among=["small"], default="large")
    decision = decide(over, needs=["vision"])
    assert (decision.model, decision.reason) == ("large", "capability")


def test_a_rules_model_serves_when_neither_list_nor_default_can() -> None:
    seer = model("seer", 5.0, can=["vision"])
    blind = model("blind", 3.0)
    over = snapshot(
        [SMALL, blind, seer],
        among=["small", "blind"],
        default="blind",
        rules=[rule("r", "seer", keywords="never said")],
    )
    decision = decide(over, needs=["vision"])
    assert (decision.model, decision.reason) == ("seer", "capability")


def test_the_chain_says_how_many_claims_were_not_read() -> None:
    question = plan(call(), Features("hello", claims=2), BOTH)
    assert isinstance(question, Question)
    said = {step.stage: step.verdict for step in question.steps}
    assert said["claims"].startswith("left out of what is read: 2 ")
    assert "claims" not in {step.stage for step in ask(BOTH).steps}
