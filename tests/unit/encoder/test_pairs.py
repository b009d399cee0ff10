"""The mean APGR over a source's pairs, on scores whose order is known."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch: the extra `train`")

from distill.evaluate import apgr_of_pairs
from distill.rows import Table


def table(scores: np.ndarray, sources: list[str]) -> Table:
    """Rows of which only the scores matter."""
    n = len(scores)
    none, weight = np.full(n, -1), np.ones(n, np.float32)
    columns = [{"source": s, "raw": f"m{i}", "model": f"m{i}"} for i, s in enumerate(sources)]
    ids, names = [str(i) for i in range(n)], np.array(["s"] * n)
    hard = np.zeros(n, np.float32)
    return Table(
        ids, names, ids, scores, none, none, none, weight, weight, hard, columns, np.zeros(2)
    )


def test_who_knows_which_rows_need_the_strong_model_is_near_the_oracle() -> None:
    rng = np.random.default_rng(5)
    weak = (rng.random(400) < 0.4).astype(np.float32)
    strong = np.where(weak == 1, 1.0, rng.random(400) < 0.6).astype(np.float32)
    rows = table(np.column_stack([weak, strong]), ["a", "a"])
    knows = apgr_of_pairs(rows, np.column_stack([weak, strong]) * 0.8 + 0.1)["a"]
    guesses = apgr_of_pairs(rows, rng.random((400, 2)))["a"]
    assert knows is not None
    assert guesses is not None
    assert knows > 0.75
    assert abs(guesses - 0.5) < 0.12


def test_pairs_of_two_sources_and_of_equals_and_of_few_rows_are_no_pairs() -> None:
    rng = np.random.default_rng(6)
    good = (rng.random((300, 3)) < (0.3, 0.9, 0.35)).astype(np.float32)
    chances = np.full((300, 3), 0.5)
    assert apgr_of_pairs(table(good, ["a", "b", "a"]), chances) == {}
    good[50:, 0] = np.nan
    assert apgr_of_pairs(table(good, ["a", "a", "b"]), chances) == {}
