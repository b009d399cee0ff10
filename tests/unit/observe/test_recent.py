"""The ring of the latest decisions: bounded, read from where one left off, light."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from sidecar.account import Record, record
from sidecar.clock import Clock
from sidecar.observe.recent import Recent
from sidecar.reload.live import read_cursor
from sidecar.types import Decision, Outcome, Step, Usage
from tests.support.builders import call, model, snapshot


def over(number: int = 0, **asked: Any) -> Record:
    made = snapshot([model("small", 1.0), model("large", 10.0)])
    decision = Decision("small", "auto", "policy", ("large",), steps=(Step("policy", "cheapest"),))
    usage = Usage(input_tokens=100, output_tokens=10)
    outcome = Outcome("small", "policy", 200, 1, 9, usage, "complete", 5.0, 9.0)
    clock = Clock()
    clock.lap("parse")
    return record(call(user=f"prompt {number}", **asked), decision, outcome, made, clock)


def test_a_row_says_what_was_decided_and_why_and_holds_no_prompt() -> None:
    ring = Recent()
    ring.note(over())
    [row] = ring.since()
    assert (row["model"], row["reason"], row["strong"]) == ("small", "policy", "large")
    assert row["steps"] == [{"stage": "policy", "verdict": "cheapest"}]
    assert row["cost_usd"] == pytest.approx(110 / 1e6)
    assert row["cost_strong_usd"] == pytest.approx(1100 / 1e6)
    assert row["prompt"] is None
    assert "prompt 0" not in str(row)


def test_a_record_keeps_no_body_and_no_header() -> None:
    kept = over()
    kinds = {type(getattr(kept, each.name)).__name__ for each in fields(kept)}
    assert "Outcome" in kinds
    assert kinds.isdisjoint({"Call", "bytes", "Passed"})


def test_a_reader_gets_what_is_new_since_it_read() -> None:
    ring = Recent()
    for number in range(5):
        ring.note(over(number))
    assert len(ring.since()) == 5
    seen = ring.total
    assert ring.since(seen) == []
    ring.note(over())
    assert len(ring.since(seen)) == 1


def test_the_ring_and_what_it_tells_at_once_are_bounded() -> None:
    ring = Recent(kept=10)
    for number in range(25):
        ring.note(over(number))
    assert ring.total == 25
    assert len(ring.since()) == 10
    assert len(ring.since(most=3)) == 3
    assert len(ring.since(seen=24)) == 1


@pytest.mark.parametrize("seen", [-1, 26, 10**15])
def test_a_count_of_another_ring_reads_as_none(seen: int) -> None:
    ring = Recent()
    for number in range(25):
        ring.note(over(number))
    assert len(ring.since(seen)) == 25


def test_rings_are_told_apart_over_restarts() -> None:
    assert Recent().name != Recent().name


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", {}),
        ("0a1b2c3d:7", {"0a1b2c3d": 7}),
        ("0a1b2c3d:7~ffffffff:0", {"0a1b2c3d": 7, "ffffffff": 0}),
        ("nonsense", {}),
        ("0a1b2c3d:-7", {}),
        ("~" * 100_000, {}),
    ],
)
def test_a_cursor_that_is_none_saw_nothing(text: str, read: dict[str, int]) -> None:
    assert read_cursor(text) == read
