"""The nearest vectors are found: nearly all of them by pages, all of them where those do not do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sidecar.nearest import RECALL, Nearest

Array = NDArray[np.float64]
# By how much the demand vectors of real prompts differ, along their own axes.
REAL = np.r_[3.1, 1.3, 1.1, 0.9, 0.7, 0.6, 0.6, 0.5, np.geomspace(0.4, 0.05, 24)]


def real(rng: Any, n: int) -> Array:
    """Most of it along a few directions, as demand vectors are."""
    return np.asarray(rng.normal(size=(n, 32)) * REAL)


def steep(rng: Any, n: int) -> Array:
    return np.asarray(rng.normal(size=(n, 32)) * np.geomspace(1.0, 0.05, 32))


def even(rng: Any, n: int) -> Array:
    """As much along any direction as along any other: pages say nothing."""
    return np.asarray(rng.normal(size=(n, 32)))


def clumped(rng: Any, n: int) -> Array:
    clumps = rng.normal(size=(8, 32))
    return np.asarray(clumps[rng.integers(0, 8, n)] + 0.05 * real(rng, n))


def narrow(rng: Any, n: int) -> Array:
    return np.asarray(rng.normal(size=(n, 3)))


def afar(rng: Any, n: int) -> Array:
    """Far from nothing and near to each other."""
    return real(rng, n) + 20.0


def minute(rng: Any, n: int) -> Array:
    return real(rng, n) * 1e-3


KINDS = (real, steep, even, clumped, narrow, afar, minute)


def share_found(search: Nearest, known: Array, queries: Array, count: int) -> float:
    """The recall of a search, whose distances are held to be true."""
    hits = 0
    wanted = min(count, len(known))
    for query in queries:
        found, squares = search(query.tolist(), count)
        truly = ((known - query) ** 2).sum(1)
        assert len(set(found.tolist())) == len(squares) == wanted
        # in single precision a square is off by a share of what it is made of
        off = 1e-5 * float((query**2).sum() + (known**2).sum(1).max())
        np.testing.assert_allclose(squares, truly[found], atol=off)
        hits += len(set(found.tolist()) & set(truly.argsort()[:wanted].tolist()))
    return hits / (wanted * len(queries))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "count"), [(9_000, 32), (9_000, 100), (2_050, 1), (2_050, 200)])
def test_nearly_all_of_the_nearest_are_found(kind: Any, n: int, count: int) -> None:
    points = kind(np.random.default_rng(n + count), n + 60).astype(np.float32).astype(float)
    search = Nearest(points[:n].astype(np.float32))
    share = share_found(search, points[:n], points[n:], count)
    assert share >= (RECALL - 0.03 if search.looked else 1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "count"), [(1_000, 32), (128, 1), (33, 32), (20, 32), (1, 5)])
def test_of_a_few_nothing_nearer_is_left_out(kind: Any, n: int, count: int) -> None:
    points = kind(np.random.default_rng(n + count), n + 40).astype(np.float32).astype(float)
    search = Nearest(points[:n].astype(np.float32))
    assert search.looked == 0
    # but for what is as far away, in single precision, as what was found in its place
    assert share_found(search, points[:n], points[n:], count) > 0.999


def test_what_is_like_real_prompts_takes_few_pages_and_what_is_like_nothing_all() -> None:
    rng = np.random.default_rng(0)
    assert 0 < Nearest(real(rng, 9_000).astype(np.float32)).looked < 60
    assert Nearest(even(rng, 9_000).astype(np.float32)).looked == 0


def test_where_all_are_the_same_as_many_as_were_asked_for_are_found() -> None:
    for value in (0.0, 1.0):
        found, squares = Nearest(np.full((5_000, 4), value, np.float32))((value,) * 4, 7)
        assert len(set(found.tolist())) == 7
        assert np.abs(squares).max() < 1e-5
