"""A rule holds where every condition it gives holds."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from sidecar.decide import EMPTY, Question, View, choose, plan
from sidecar.decide.rules import KEYWORD_CHARS, PATTERN_CHARS, holds
from sidecar.types import Decision, Features, Hints, Passed, Prompt
from tests.support.builders import FakeAbilities, call, model, reading, rule, snapshot

LONG = 100_000


@pytest.mark.parametrize(
    ("when", "kw", "expected"),
    [
        ({"keywords": "Proof"}, {"user": "a PROOF, please"}, True),
        ({"keywords": ["x", "straße"]}, {"user": "STRASSE"}, True),
        ({"keywords": "proof"}, {"user": "hello"}, False),
        ({"keywords": "end"}, {"user": "x" * LONG + "end"}, True),
        ({"keywords": "start"}, {"user": "start" + "x" * LONG}, True),
        ({"min_tokens": 10}, {"input_tokens": 10}, True),
        ({"min_tokens": 11}, {"input_tokens": 10}, False),
        ({"max_tokens": 10}, {"input_tokens": 10}, True),
        ({"max_tokens": 9}, {"input_tokens": 10}, False),
        ({"max_tokens": 0}, {"input_tokens": 10}, False),
        ({"needs": "tools"}, {"needs": ["tools", "vision"]}, True),
        ({"needs": ["tools", "vision"]}, {"needs": ["tools"]}, False),
        ({"tenant": "a"}, {"hints": Hints(tenant="a")}, True),
        ({"tenant": ["a", "b"]}, {"hints": Hints(tenant="c")}, False),
        ({"tenant": "a"}, {}, False),
        ({"tenant": "a", "min_tokens": 11}, {"hints": Hints(tenant="a")}, False),
        ({"task": "code"}, {}, False),  # there is no reading
    ],
)
def test_conditions_without_a_reading(
    when: dict[str, Any], kw: dict[str, Any], expected: bool
) -> None:
    assert holds(rule("r", "m", **when), call(**kw), None) is expected


BERLIN = {"zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("when", "text", "expected"),
    [
        (r"refund|charge ?back", "about my chargeback", True),
        (r"^hello\b", "hello there", True),
        (r"^hello\b", "oh hello", False),
        (r"Proof", "a proof", False),  # a pattern says itself whether it ignores case
        (r"(?i)Proof", "a PROOF", True),
        (["nothing", r"\d{4}-\d{2}"], "on 2026-11", True),
        (r"straße$", "die straße", True),
        (r"end$", "x" * LONG + "end", True),
        (r"^start", "start" + "x" * LONG, True),
        (r"middle", "x" * LONG + "middle" + "x" * LONG, False),
    ],
)
def test_a_pattern_is_looked_for_in_the_head_and_the_tail(
    when: str, text: str, expected: bool
) -> None:
    assert holds(rule("r", "m", regex=when), call(user=text), None) is expected


def test_half_a_character_is_no_fault_of_the_pattern() -> None:
    lone = replace(call(), prompt=Prompt(user="lone \ud800 half, x"))
    assert holds(rule("r", "m", regex="half, x$"), lone, None)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"X-Team": "search"}, True),
        ({"x-team": ["ads", "search"]}, True),
        ({"x-team": "*"}, True),
        ({"x-team": "Search"}, False),
        ({"x-other": "*"}, False),
        ({"x-team": "search", "x-tier": "gold"}, False),
    ],
)
def test_a_header_holds_one_of_its_values(when: dict[str, Any], expected: bool) -> None:
    asked = replace(call(), passed=Passed(b"x-Team:  search\r\naccept: */*\r\n"))
    assert holds(rule("r", "m", headers=when), asked, None) is expected


def at(text: str) -> View:
    return View(now=datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(
    ("when", "now", "expected"),
    [
        ({"start": "08:00", "end": "18:00"}, "2026-11-20T08:00+00:00", True),
        ({"start": "08:00", "end": "18:00"}, "2026-11-20T18:00+00:00", False),
        ({"start": "08:00", "end": "18:00", **BERLIN}, "2026-11-20T17:30+00:00", False),
        ({"start": "08:00", "end": "18:00", **BERLIN}, "2026-07-20T06:30+00:00", True),  # summer
        ({"days": ["fri"]}, "2026-11-20T12:00+00:00", True),
        ({"days": ["fri"]}, "2026-11-21T12:00+00:00", False),
        ({"days": ["fri"], **BERLIN}, "2026-11-19T23:30+00:00", True),
        ({"days": ["fri"], "start": "22:00", "end": "06:00"}, "2026-11-21T05:59+00:00", True),
        ({"days": ["fri"], "start": "22:00", "end": "06:00"}, "2026-11-20T05:59+00:00", False),
        ({"days": ["fri"], "start": "22:00", "end": "06:00"}, "2026-11-20T12:00+00:00", False),
    ],
)
def test_a_time_window_is_by_the_clock_of_its_zone(
    when: dict[str, Any], now: str, expected: bool
) -> None:
    assert holds(rule("r", "m", time=when), call(), None, at(now)) is expected


def test_a_time_window_never_holds_where_nobody_says_what_time_it_is() -> None:
    assert not holds(rule("r", "m", time={"days": ["mon"]}), call(), None, EMPTY)


def test_the_worst_pattern_that_is_allowed_takes_a_bounded_number_of_steps() -> None:
    """The text is cut before the pattern sees it, so a longer prompt costs nothing more."""

    class Counting:
        seen = 0

        def search(self, text: str, /) -> None:
            self.seen = max(self.seen, len(text))

    counting = Counting()
    counted = replace(rule("r", "m", regex="x"), patterns=(counting,))
    assert not holds(counted, call(user="a" * 10_000_000), None)
    assert 0 < counting.seen <= PATTERN_CHARS + 1


# The slowest text known for each: what follows any `a` has to be kept in mind, or a
# keyword all but fits at every place.
SLOW = [
    ({"regex": ".*a.{30}c"}, "".join(random.Random(1).choices("ab", k=PATTERN_CHARS))),
    ({"keywords": ["a" * n + "b" for n in range(80, 100)]}, "a" * KEYWORD_CHARS),
]


@pytest.mark.parametrize(("when", "text"), SLOW)
@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("policy", ["rules", "cost_quality"])
def test_many_slow_rules_take_a_bounded_time_and_then_the_default_answers(
    when: dict[str, Any], text: str, reads: bool, policy: str
) -> None:
    label = {"task": "code"} if reads else {}
    slow = [rule(f"slow-{i}", "small", **when, **label) for i in range(60)]
    last = rule("last", "small", max_tokens=10_000_000, **label)
    over = snapshot([model("small"), model("large", 9.0)], policy=policy, rules=[*slow, last])
    over = replace(over, abilities=FakeAbilities({"small": 0.9, "large": 0.9}))
    asked, said = call(user=text), reading(task="code")

    def judged() -> Decision:
        found = plan(asked, Features("a"), over)
        return choose(found, asked, said, over) if isinstance(found, Question) else found

    began = time.thread_time()
    assert not any(holds(each, asked, said) for each in slow)
    all_of_them = time.thread_time() - began
    began = time.thread_time()
    found = judged()
    took = time.thread_time() - began
    assert (found.model, found.reason) == ("large", "default")
    assert "the rules after it were not judged" in found.steps[-1].verdict
    assert took < all_of_them / 2
    # on a text that is not slow for them every rule is judged
    asked = call(user="d" * 100)
    assert judged().reason == "rule:last"


def test_hundreds_of_ordinary_rules_are_all_judged() -> None:
    words = [rule(f"r{i}", "large", keywords=[f"word{i}", f"term{i}"]) for i in range(200)]
    forms = [rule(f"p{i}", "large", regex=rf"(?i)\b(form|shape){i}\b") for i in range(200)]
    over = snapshot([model("small"), model("large", 9.0)], rules=[*words, *forms])
    asked = call(user="Dear all, " * 800 + "what about shape199?")
    found = plan(asked, Features("a"), over)
    assert isinstance(found, Decision)
    assert found.reason == "rule:p199"


@pytest.mark.parametrize(
    ("when", "labels", "expected"),
    [
        ({"task": "code"}, {"task": "code"}, True),
        ({"task": ["qa", "code"]}, {"task": "code"}, True),
        ({"task": "qa"}, {"task": "code"}, False),
        ({"domain": "legal"}, {"domain": "legal"}, True),
        ({"domain": "legal", "tier": "complex"}, {"domain": "legal", "tier": "simple"}, False),
        ({"tier": "complex"}, {"tier": "complex"}, True),
        ({"tier": "complex"}, {}, False),
    ],
)
def test_conditions_on_a_reading(
    when: dict[str, Any], labels: dict[str, str], expected: bool
) -> None:
    assert holds(rule("r", "m", **when), call(), reading(**labels)) is expected
