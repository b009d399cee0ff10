"""What is believed of one model's ability, and how one score of an answer moves it.

A model's ability is the pair (a, b) of ``P(suffices) = sigmoid(a . z + b)``. What is
believed of it is a normal distribution over ``w = [a, b]``, centred at first on the
catalogue. A score y in 0..1 of an answer to a prompt with demand z moves it by the
online Laplace approximation (Chapelle and Li 2011, algorithm 3, with the whole
covariance; the mode along one observation is found exactly, so that a confident
belief which was wrong moves far and never beyond the evidence).

Models change behind their names. So before each score the covariance goes a
``memory``-th of the way back to where it began: what was learnt ``memory`` scores ago
weighs little, and a model that got better or worse is followed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# How far a model may be from what the catalogue says of it, as standard deviations:
# about the spread of the catalogue's own models in each number of the slope, of the
# slope's length, and of the shift.
_SLOPE_SD: Final = 0.07
_LENGTH_SD: Final = 0.3
_SHIFT_SD: Final = 1.0
_STEPS: Final = 60


@dataclass(frozen=True, slots=True)
class Belief:
    """A normal distribution over one model's ``[a, b]``."""

    centre: Array  # [K + 1], the catalogue's: where it began
    mean: Array  # [K + 1]
    covariance: Array  # [K + 1, K + 1]
    scores: float = 0.0  # the weight of all that moved it


def prior(slope: Sequence[float] | Array, shift: float) -> Belief:
    """The belief before any score: about the catalogue's ``slope`` [K] and ``shift``."""
    mean = np.append(np.asarray(slope, float), shift)
    return Belief(mean, mean, _spread(mean))


def _spread(centre: Array) -> Array:
    """The covariance [K + 1, K + 1] of what nothing is known of but its place."""
    slope = np.append(centre[:-1], 0.0)
    spread = np.diag(np.append(np.full(len(centre) - 1, _SLOPE_SD**2), _SHIFT_SD**2))
    return np.asarray(spread + _LENGTH_SD**2 * np.outer(slope, slope))


def learnt(belief: Belief, demand: Array, score: float, weight: float, memory: float) -> Belief:
    """``belief`` after one ``score`` (0..1) of an answer to a prompt with ``demand`` [K]."""
    x = np.append(demand, 1.0)
    away = weight / memory
    covariance = belief.covariance + away * (_spread(belief.centre) - belief.covariance)
    towards = covariance @ x
    variance = float(x @ towards)
    before = float(belief.mean @ x)
    gap = score - _sigmoid(_mode(before, variance, score, weight))
    p = score - gap
    curvature = weight * p * (1.0 - p)
    return replace(
        belief,
        mean=belief.mean + weight * gap * towards,
        covariance=covariance
        - curvature / (1.0 + curvature * variance) * np.outer(towards, towards),
        scores=belief.scores + weight,
    )


def _mode(before: float, variance: float, score: float, weight: float) -> float:
    """The logit m with ``m = before + variance * weight * (score - sigmoid(m))``.

    The right side falls as m rises, so there is one, between ``before`` and the far
    end of the step; it is found by bisection.
    """
    span = variance * weight
    low, high = before - span, before + span
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if before + span * (score - _sigmoid(middle)) > middle:
            low = middle
        else:
            high = middle
        if high - low < 1e-9:
            break
    return (low + high) / 2


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


@dataclass(frozen=True, slots=True)
class Panel:
    """Beliefs of several models, stacked: one product of matrices asks them all."""

    names: tuple[str, ...]
    means: Array  # [models, K + 1]
    covariances: Array  # [models * (K + 1), K + 1]: one product for all of them

    @classmethod
    def of(cls, beliefs: dict[str, Belief]) -> Panel:
        return cls(
            tuple(beliefs),
            np.stack([b.mean for b in beliefs.values()]),
            np.concatenate([b.covariance for b in beliefs.values()]),
        )

    def drawn(self, demand: Array, normals: Array) -> dict[str, float]:
        """One draw of every model's ``P(suffices)``, from a standard normal number each.

        A decision asks of a belief only what it says of one prompt, and along one
        prompt it is a normal distribution of the logit: one number is a whole draw.
        """
        x = np.ones(len(demand) + 1)
        x[:-1] = demand
        towards = (self.covariances @ x).reshape(self.means.shape)
        logits = self.means @ x + normals * np.sqrt(towards @ x)
        return dict(zip(self.names, (1 / (1 + np.exp(-logits))).tolist(), strict=True))
