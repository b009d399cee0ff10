"""What a request is expected to cost at a model is of the request as that model gets it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sidecar.config.snapshot import ModelSpec, Price
from sidecar.decide import Question, View, choose, plan, price
from sidecar.decide.observed import Mean, Observed
from sidecar.dialects.overrides import Overrides
from sidecar.types import Call, Features, Prompt
from tests.support.builders import FakeAbilities, call, model, reading, snapshot

USD = Price(1.0, 1.0, 10.0)  # a million tokens, in and out
BOTH = frozenset({"max_tokens", "max_completion_tokens"})  # the names of a chat's limit
LONG = 400  # tokens that any answer is expected to have


def with_overrides(**changes: Any) -> ModelSpec:
    return replace(model("m"), price=USD, overrides=Overrides(**changes))


def usd(of: ModelSpec, asked: Call) -> float:
    return price.expected(asked, of, None, View(lengths={"": LONG}))


def of_tokens(input_tokens: float, output_tokens: float) -> float:
    return pytest.approx((0.75 * input_tokens + 10 * output_tokens) / 1e6)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("changes", "asked", "output"),
    [
        ({}, {}, LONG),
        ({"max_tokens": 100}, {}, 100),
        ({"max_tokens": 100}, {"max_output_tokens": 50}, 50),
        ({"max_tokens": 100}, {"max_output_tokens": 9999}, 100),
        ({"drop": BOTH}, {"max_output_tokens": 5}, LONG),
        ({"values": {"max_tokens": 300}}, {"max_output_tokens": 5}, 300),
        ({}, {"choices": 3}, 3 * LONG),
        ({"values": {"n": 2}}, {"choices": 3}, 2 * LONG),
        ({"drop": frozenset({"n"})}, {"choices": 3}, LONG),
        ({"max_tokens": 100, "drop": frozenset({"n"})}, {"choices": 3}, 100),
    ],
)  # fmt: skip
def test_an_answer_is_as_long_and_as_many_as_the_overrides_leave_it(
    changes: dict[str, Any], asked: dict[str, Any], output: float
) -> None:
    assert usd(with_overrides(**changes), call(input_tokens=1000, **asked)) == of_tokens(
        1000, output
    )


def test_a_system_prompt_that_is_put_before_it_makes_the_question_longer() -> None:
    before = with_overrides(system_prefix="x" * 3000)
    assert usd(before, call(input_tokens=1000)) == of_tokens(2000, LONG)
    # completions have no place for it, and are sent without
    completion = replace(call(input_tokens=1000), dialect="completions")
    assert usd(before, completion) == of_tokens(1000, LONG)


def test_one_that_is_put_in_its_place_takes_the_apps_own_out() -> None:
    instead = with_overrides(system_replace="x" * 300)
    asked = replace(call(input_tokens=1000), prompt=Prompt(system="y" * 2400, user="hello"))
    assert usd(instead, asked) == of_tokens(1000 - 800 + 100, LONG)


@pytest.mark.parametrize("seen", [False, True])
def test_a_policy_chooses_by_the_price_of_what_is_sent(seen: bool) -> None:
    """The cheaper by its list is the dearer once its overrides double the question."""
    plain = replace(model("plain"), price=Price(2.0, 2.0, 2.0))
    wordy = replace(
        model("wordy"), price=Price(1.0, 1.0, 2.0), overrides=Overrides(system_prefix="x" * 9000)
    )
    over = replace(
        snapshot([plain, wordy], quality=0.9),
        abilities=FakeAbilities({"plain": 0.9, "wordy": 0.9}),
    )
    told = Observed(0.99, 0.4, 0.01, {"": Mean(50, 300.0)})
    view = View(observed={"plain": told, "wordy": told} if seen else {}, lengths={"": 100.0})
    asked = call(input_tokens=2000)
    question = plan(asked, Features("hello"), over, view)
    assert isinstance(question, Question)
    decision = choose(question, asked, reading(), over, view)
    assert decision.model == "plain"
    by_name = {each.model: each for each in decision.candidates}
    for spec in (plain, wordy):
        assert by_name[spec.name].cost_usd == pytest.approx(
            price.expected(asked, spec, reading(), view)
        )
    bare = replace(over, models={**over.models, "wordy": replace(wordy, overrides=None)})
    question = plan(asked, Features("hello"), bare, view)
    assert isinstance(question, Question)
    assert choose(question, asked, reading(), bare, view).model == "wordy"
