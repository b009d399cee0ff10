"""The nearest vectors are found, all of them and no others, whatever they are like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sidecar.nearest import Nearest

Array = NDArray[np.float64]


def steep(rng: Any, n: int) -> Array:
    """Most of it along a few directions, as demand vectors are."""
    return np.asarray(rng.normal(size=(n, 32)) * np.geomspace(1.0, 0.05, 32))


def even(rng: Any, n: int) -> Array:
    """As much along any direction as along any other: what leads says little."""
    return np.asarray(rng.normal(size=(n, 32)))


def lopsided(rng: Any, n: int) -> Array:
    """Just so much beside what leads that it is still let lead."""
    spread = np.sqrt(np.where(np.arange(32) < 15, 0.91 / 15, 0.09 / 17))
    return np.asarray(rng.normal(size=(n, 32)) * spread)


def misleading(rng: Any, n: int) -> Array:
    """Alike along what leads, apart in what does not: a second look is needed."""
    clumps = rng.normal(size=(8, 32)) * np.where(np.arange(32) < 15, 1.0, 0.0)
    away = rng.normal(size=(n, 32)) * np.where(np.arange(32) < 15, 1e-3, 0.2)
    return np.asarray(clumps[rng.integers(0, 8, n)] + away)


def narrow(rng: Any, n: int) -> Array:
    return np.asarray(rng.normal(size=(n, 3)))


def afar(rng: Any, n: int) -> Array:
    """Far from nothing and near to each other."""
    return steep(rng, n) + 20.0


def minute(rng: Any, n: int) -> Array:
    return steep(rng, n) * 1e-3


@pytest.mark.parametrize("kind", [steep, even, lopsided, misleading, narrow, afar, minute])
@pytest.mark.parametrize(("n", "count"), [(9_000, 32), (2_000, 1), (700, 32), (128, 32), (20, 32)])
def test_nothing_nearer_is_left_out(kind: Any, n: int, count: int) -> None:
    rng = np.random.default_rng(n + count)
    points = kind(rng, n + 40)
    known, queries = points[:n].astype(np.float32), points[n:].astype(np.float32)
    search = Nearest(known)
    for query in queries:
        found, squares = search(query.tolist(), count)
        truly = ((known.astype(float) - query.astype(float)) ** 2).sum(1)
        best = np.sort(truly)[:count]
        assert len(set(found.tolist())) == len(best)
        # in single precision a square is off by a share of what it is made of
        off = 1e-5 * float(
            (query.astype(float) ** 2).sum() + (known.astype(float) ** 2).sum(1).max()
        )
        np.testing.assert_allclose(np.sort(truly[found]), best, atol=off)
        np.testing.assert_allclose(squares, truly[found], atol=off)
        assert (np.diff(squares) <= 0).all()


def test_where_all_are_the_same_as_many_as_were_asked_for_are_found() -> None:
    for value in (0.0, 1.0):
        found, squares = Nearest(np.full((5_000, 4), value, np.float32))((value,) * 4, 7)
        assert len(set(found.tolist())) == 7
        assert squares.tolist() == [0.0] * 7
