"""The figures agree with their definitions on cases small enough to do by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.offline.metrics import auc, curve, ece, reliability


def test_auc_counts_pairs_in_order_and_ties_as_half() -> None:
    positive = np.array([True, True, False, False])
    assert auc(positive, np.array([0.9, 0.4, 0.5, 0.1])) == 0.75
    assert auc(positive, np.zeros(4)) == 0.5
    assert auc(np.array([True, True]), np.array([1.0, 2.0])) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs(rows: list[tuple[bool, int]]) -> None:
    positive = np.array([p for p, _ in rows])
    rank = np.array([float(r) for _, r in rows])
    pairs = [(a > b) + 0.5 * (a == b) for a in rank[positive] for b in rank[~positive]]
    found = auc(positive, rank)
    assert (found is None) == (not pairs)
    if pairs:
        assert found == pytest.approx(sum(pairs) / len(pairs))


def test_ece_is_the_gap_between_said_and_was() -> None:
    said = np.array([0.9] * 10 + [0.1] * 10)
    was = np.array([1.0] * 9 + [0.0] + [1.0] * 3 + [0.0] * 7)
    assert ece(said, was) == pytest.approx(0.5 * 0.0 + 0.5 * 0.2)
    assert sum(share for share, _, _ in reliability(said, was)) == pytest.approx(1)
    assert ece(np.array([1.0]), np.array([1.0])) == 0


def test_the_oracle_recovers_most_and_chance_half() -> None:
    weak = np.array([1.0, 0.0, 0.0, 1.0])
    strong = np.array([1.0, 1.0, 0.0, 1.0])
    best = curve(weak, strong, strong - weak)
    assert best.apgr is not None
    assert best.apgr == pytest.approx(0.875)  # 1 from a quarter of the calls on
    assert best.cpt(0.5) == 0.25
    chance = curve(weak, strong, np.zeros(4))
    assert chance.apgr == pytest.approx(0.5)


def test_the_curve_runs_from_always_weak_to_always_strong() -> None:
    weak, strong = np.array([0.0, 1.0, 0.2]), np.array([1.0, 0.0, 0.9])
    line = curve(weak, strong, np.array([1.0, 2.0, 3.0]))
    assert line.quality[0] == pytest.approx(weak.mean())
    assert line.quality[-1] == pytest.approx(strong.mean())


def test_no_gap_means_no_recovery() -> None:
    same = np.array([1.0, 0.0])
    line = curve(same, same, np.array([0.0, 1.0]))
    assert line.apgr is None
    assert line.cpt(0.5) is None
