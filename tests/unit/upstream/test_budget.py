"""Retries are a share of the traffic, beside a small allowance."""

from __future__ import annotations

from sidecar.upstream.budget import RetryBudget


def test_where_all_fails_retries_are_bounded() -> None:
    budget = RetryBudget(0.0)
    spent = 0
    for _ in range(1000):  # within one instant
        budget.asked(0.2)
        spent += budget.take(0.0)
    assert 200 <= spent <= 211


def test_without_traffic_a_few_are_always_allowed() -> None:
    budget = RetryBudget(0.0)
    assert [budget.take(0.0) for _ in range(11)] == [True] * 10 + [False]
    assert not budget.take(0.5)
    assert budget.take(1.0)
    assert [budget.take(1000.0) for _ in range(11)] == [True] * 10 + [False]
