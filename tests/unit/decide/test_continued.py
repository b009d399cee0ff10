"""A request that names the answer before it goes where that answer is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sidecar.config.snapshot import ModelSpec
from sidecar.decide import Question, View, plan
from sidecar.decide.view import Exhausted
from sidecar.errors import NoCapableModel
from sidecar.types import Call, Decision, Features, Place
from tests.support.builders import call, model, rule, snapshot

TEXT = Features("hello")
HERE = "http://127.0.0.1:1/v1"
AT_SMALL = Place("small", "local", HERE, tokens=100)


def elsewhere(spec: ModelSpec, address: str = "http://127.0.0.1:2/v1") -> ModelSpec:
    upstream = replace(spec.upstream, name="other", base_url=address)
    return replace(spec, upstream=upstream, replicas=(upstream,))


SMALL = model("small", 0.1, context=1000)
MIDDLE = model("middle", 1.0, can=["vision"], context=4000)
LARGE = elsewhere(model("large", 10.0, can=["vision"], context=9000))
ALL = snapshot([SMALL, MIDDLE, LARGE])


def going_on(**kw: Any) -> Call:
    return replace(call(**kw), dialect="responses", continues="resp_1", stateful=True)


def decide(view: View, over: Any = ALL, **kw: Any) -> Decision:
    decision = plan(going_on(**kw), TEXT, over, view)
    assert isinstance(decision, Decision)
    return decision


def test_it_goes_back_and_falls_back_only_to_who_has_the_same_address() -> None:
    decision = decide(View(place=AT_SMALL))
    assert (decision.model, decision.reason, decision.at) == ("small", "session", AT_SMALL)
    assert decision.fallbacks == ("middle",)  # large does not know the answer
    assert "goes on with an answer that it gave" in decision.steps[-1].verdict


def test_it_comes_before_rules_and_budgets_that_save() -> None:
    over = snapshot([SMALL, MIDDLE, LARGE], rules=[rule("r", "large", keywords="hello")])
    spent = Exhausted("b", "cheapest", "spent", 60.0)
    decision = decide(View(place=Place("middle", "local", HERE), exhausted=(spent,)), over)
    assert (decision.model, decision.reason) == ("middle", "session")


def test_the_capability_mask_holds_and_another_model_of_the_address_goes_on() -> None:
    decision = decide(View(place=AT_SMALL), needs=["vision"])
    assert (decision.model, decision.fallbacks) == ("middle", ())
    assert decision.at == AT_SMALL


def test_what_the_upstream_keeps_counts_against_the_window() -> None:
    long = replace(AT_SMALL, tokens=1500)
    assert decide(View(place=long)).model == "middle"
    with pytest.raises(NoCapableModel, match="room for 20010 tokens"):
        decide(View(place=replace(AT_SMALL, tokens=20_000)))


def test_where_no_model_of_the_route_is_there_it_is_decided_as_any_other() -> None:
    gone = Place("removed", "local", "http://127.0.0.1:9/v1")
    question = plan(going_on(), TEXT, ALL, View(place=gone))
    assert isinstance(question, Question)
    assert "no model of the route" in question.steps[-1].verdict


def test_an_unknown_answer_is_decided_as_any_other_and_says_so() -> None:
    question = plan(going_on(), TEXT, ALL, View())
    assert isinstance(question, Question)
    assert "not known here" in question.steps[-1].verdict


def test_a_model_that_is_gone_leaves_the_address_to_the_others() -> None:
    decision = decide(View(place=Place("removed", "local", HERE)))
    assert (decision.model, decision.fallbacks) == ("small", ("middle",))
    assert "removed gave at the same address" in decision.steps[-1].verdict


def test_the_kill_switch_and_a_named_model_stay_what_they_are() -> None:
    for view, name, reason in (
        (View(pinned="large", place=AT_SMALL), "auto", "kill-switch"),
        (View(place=AT_SMALL), "large", "explicit"),
    ):
        decision = decide(view, model=name)
        assert (decision.model, decision.reason, decision.at) == ("large", reason, None)
    # asked at the very replica, where it is one of theirs
    for view, name in ((View(pinned="middle", place=AT_SMALL), "auto"),
                       (View(place=AT_SMALL), "middle")):  # fmt: skip
        assert decide(view, model=name).at == AT_SMALL
