"""Intervals of 95 %: what a figure of some requests says of the traffic that they come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

_Z: Final = 1.959964  # the normal distribution's 97.5 % quantile
_RESAMPLES: Final = 2_000
_BLOCK: Final = 2_000_000  # numbers drawn together: memory stays small whatever the sample


def wilson(hits: int, n: int) -> tuple[float, float] | None:
    """The score interval of a share (Wilson 1927); None of nothing."""
    if n == 0:
        return None
    share, z2 = hits / n, _Z * _Z
    centre = share + z2 / (2 * n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (max(0.0, (centre - half) / (1 + z2 / n)), min(1.0, (centre + half) / (1 + z2 / n)))


def bootstrap(values: Sequence[float], seed: int = 0) -> tuple[float, float] | None:
    """The percentile interval of the mean (Efron and Tibshirani 1993, ch. 13)."""
    means = _means(values, seed)
    return None if means is None else _percentiles(means)


def difference(
    values: Sequence[float], control: Sequence[float], seed: int = 0
) -> tuple[float, float] | None:
    """The same of the difference of two means, each sample resampled by itself."""
    one, other = _means(values, seed), _means(control, seed + 1)
    return None if one is None or other is None else _percentiles(one - other)


def _means(values: Sequence[float], seed: int) -> np.ndarray | None:
    n = len(values)
    if n < 2:
        return None
    sample, rng = np.asarray(values, float), np.random.default_rng(seed)
    rows = max(1, _BLOCK // n)
    parts = [
        sample[rng.integers(0, n, (min(rows, _RESAMPLES - start), n))].mean(axis=1)
        for start in range(0, _RESAMPLES, rows)
    ]
    return np.concatenate(parts)


def _percentiles(means: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
