"""The figures that routers are judged by, in numpy.

``weak`` and ``strong`` are the two models' scores on the same rows, 0 to 1; ``rank``
is any number that is higher where the strong model is more worth its price.

- AUC: the chance that a row of the positive class ranks above one of the other, ties half.
- ECE: mean |outcome - probability| over 15 equal-width bins, weighted by rows
  (Guo et al. 2017, eq. 3).
- PGR(c): the share of the gap ``mean(strong) - mean(weak)`` recovered when the fraction
  c of rows with the highest rank goes to the strong model; APGR its mean over c in
  [0, 1]; CPT(x): the least c with PGR >= x (RouteLLM, Ong et al. 2024, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BINS = 15


def auc(positive: NDArray[np.bool_], rank: Array) -> float | None:
    """Area under the ROC curve; None when one class is missing."""
    n_pos = int(positive.sum())
    n_neg = len(positive) - n_pos
    if not n_pos or not n_neg:
        return None
    _, place, counts = np.unique(rank, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    average = last - (counts - 1) / 2  # the mean 1-based rank of each group of ties
    return float((average[place][positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def ece(probability: Array, outcome: Array, bins: int = BINS) -> float:
    """Expected calibration error; ``outcome`` may be fractional."""
    return float(
        sum(share * abs(said - was) for share, said, was in reliability(probability, outcome, bins))
    )


def reliability(
    probability: Array, outcome: Array, bins: int = BINS
) -> list[tuple[float, float, float]]:
    """(share of rows, mean probability, mean outcome) of every bin that has rows."""
    if not len(probability):
        return []
    index = np.minimum((probability * bins).astype(int), bins - 1)
    rows = []
    for b in np.unique(index):
        inside = index == b
        rows.append(
            (float(inside.mean()), float(probability[inside].mean()), float(outcome[inside].mean()))
        )
    return rows


@dataclass(frozen=True, slots=True)
class Curve:
    """Quality against the share of calls to the strong model."""

    share: Array  # 0..1, n + 1 points
    quality: Array  # mean score of the routed answers
    weak: float
    strong: float

    @property
    def recovered(self) -> Array | None:
        """PGR at every point; None where the strong model is not the better one."""
        gap = self.strong - self.weak
        return (self.quality - self.weak) / gap if gap > 0 else None

    @property
    def apgr(self) -> float | None:
        recovered = self.recovered
        return None if recovered is None else float(np.trapezoid(recovered, self.share))

    def cpt(self, level: float) -> float | None:
        """The least share of strong calls that recovers ``level`` of the gap, or None."""
        recovered = self.recovered
        if recovered is None:
            return None
        reached = np.flatnonzero(recovered >= level - 1e-12)
        return float(self.share[reached[0]]) if len(reached) else None


def curve(weak: Array, strong: Array, rank: Array) -> Curve:
    """The cost-quality curve; rows with equal rank share their gain evenly."""
    order = np.argsort(-rank, kind="stable")
    gain = (strong - weak)[order]
    ranked = rank[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    sizes = np.diff(np.r_[starts, len(ranked)])
    gain = np.repeat(np.add.reduceat(gain, starts) / sizes, sizes)
    n = len(weak)
    quality = weak.mean() + np.r_[0.0, np.cumsum(gain)] / n
    return Curve(np.arange(n + 1) / n, quality, float(weak.mean()), float(strong.mean()))
