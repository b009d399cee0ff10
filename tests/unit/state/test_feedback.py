"""A score finds its request, within bounds of number, age and rate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.errors import NotFound, TooManyRequests
from sidecar.state.feedback import Answered, Rate, Recent, Regenerated
from sidecar.types import Hints
from tests.support.builders import call


def one(name: str, at: float = 0.0) -> Answered:
    return Answered(name, at, "small", "auto", None, None, 0.5, None)


def test_only_the_newest_requests_are_kept_and_only_for_so_long() -> None:
    clock = [0.0]
    recent = Recent(keep=3, keep_s=10.0, now=lambda: clock[0])
    for number in range(5):
        recent.add(one(f"r{number}", float(number)))
    assert len(recent) == 3
    assert recent.get("r1") is None
    clock[0] = 12.5
    assert recent.get("r2") is None  # too old, though it is there
    assert recent.get("r4") is not None
    recent.add(one("r9", 13.5))
    assert len(recent) == 2  # what is too old went
    with pytest.raises(NotFound, match="unknown or too old") as caught:
        recent.find("nobody")
    assert caught.value.code == "request_not_found"


def test_a_flood_is_refused_and_a_trickle_is_not() -> None:
    clock = [0.0]
    rate = Rate(5.0, now=lambda: clock[0])
    for _ in range(10):
        rate.take()
    with pytest.raises(TooManyRequests, match="per_second"):
        rate.take()
    for _ in range(50):
        clock[0] += 0.25
        rate.take()


def test_the_same_question_again_is_noticed_once_in_a_row_of_repeats() -> None:
    seen = Regenerated(within_s=60.0)
    asked = call(user="why is the sky blue")
    first, again, third = one("a", 0.0), one("b", 5.0), one("c", 10.0)
    assert seen.notice(asked, first) is None
    assert seen.notice(asked, again) is first
    assert seen.notice(asked, third) is None
    assert seen.notice(asked, one("d", 500.0)) is None  # long after
    assert seen.notice(asked, one("e", 501.0)) is not None


@pytest.mark.parametrize(
    "other",
    [
        call(user="why is the sky red"),
        replace(call(user="why is the sky blue"), hints=Hints(session="s2")),
        replace(call(user="why is the sky blue"), hints=Hints(tenant="acme")),
        call(user="why is the sky blue", model="other"),
    ],
)
def test_another_question_or_another_caller_is_no_repeat(other: object) -> None:
    seen = Regenerated(within_s=60.0)
    seen.notice(call(user="why is the sky blue"), one("a", 0.0))
    assert seen.notice(other, one("b", 1.0)) is None  # type: ignore[arg-type]


def test_an_answer_that_was_scored_is_not_judged_again_by_a_repeat() -> None:
    seen = Regenerated(within_s=60.0)
    scored = one("a", 0.0)
    seen.notice(call(), scored)
    scored.scored = True
    assert seen.notice(call(), one("b", 1.0)) is None


def test_what_is_remembered_of_repeats_is_bounded() -> None:
    seen = Regenerated(within_s=60.0, keep=10)
    for number in range(100):
        seen.notice(call(user=f"question {number}"), one(str(number), 0.0))
    assert len(seen._last) == 10
    seen.notice(call(user="much later"), one("late", 61.0))
    assert [kept.request_id for kept in seen._last.values()] == ["late"]
