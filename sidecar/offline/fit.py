"""Abilities for a model never seen, from a few hundred scored prompts.

A ridge logistic regression of the scores on the demand vectors, pulled towards a
prior direction: the mean slope of the catalogue's models, for a new model most
resembles models. How hard it is pulled is chosen by cross-validated likelihood, and
what is reported (AUC, calibration error) is of the same held-out folds, never of rows
that were fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidecar.errors import DataError
from sidecar.offline.metrics import auc, ece

Array = NDArray[np.float64]

LEAST_ROWS = 50
FOLDS = 5
RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


@dataclass(frozen=True, slots=True)
class Fitted:
    """One model's fitted ability and what held-out rows say of it."""

    slope: Array
    shift: float
    rows: int
    mean: float  # of the scores
    auc: float | None  # held out; None when a fold has one class only
    ece: float  # held out
    ridge: float


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))))


def ridge_logistic(z: Array, y: Array, prior: Array, ridge: float) -> tuple[Array, float]:
    """Slope [K] and shift that maximise the likelihood of ``y`` minus ridge/2 |(a - g.prior)|^2.

    ``z`` [n, K], ``y`` [n] in 0..1. The length g of the prior is fitted too (weakly held
    at one), so only its direction is taken on trust. Newton's method with step halving.
    """
    n, k = z.shape
    along = z @ prior
    x = np.column_stack([z, along, np.ones(n)])
    penalty = np.r_[np.full(k, ridge), 1.0, 1e-3]
    centre = np.r_[np.zeros(k), 1.0, 0.0]
    w = centre.copy()

    def loss(v: Array) -> float:
        t = x @ v
        return float((np.logaddexp(0, t) - y * t).sum() + 0.5 * penalty @ (v - centre) ** 2)

    value = loss(w)
    for _ in range(50):
        p = sigmoid(x @ w)
        gradient = x.T @ (p - y) + penalty * (w - centre)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty + 1e-9)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-3 and loss(w - size * step) > value:
            size /= 2
        w = w - size * step
        moved, value = value - loss(w), loss(w)
        if moved < 1e-8 * max(1.0, abs(value)):
            break
    return w[:k] + w[k] * prior, float(w[k + 1])


def prior_slope(slopes: Sequence[Sequence[float]]) -> Array:
    """The catalogue's mean slope."""
    return np.asarray(np.mean(np.asarray(slopes, float), axis=0))


def fit_ability(z: Array, y: Array, prior: Array, name: str, seed: int = 0) -> Fitted:
    """The ability of one model from demand vectors [n, K] and scores [n] in 0..1.

    Raises DataError under LEAST_ROWS rows, or where no row or every row suffices.
    """
    n = len(y)
    if n < LEAST_ROWS:
        raise DataError(f"{name} has scores on {n} rows: at least {LEAST_ROWS} are needed")
    passed = y >= 0.5
    if passed.all() or not passed.any():
        missing = "fails" if passed.all() else "suffices"
        raise DataError(
            f"{name} never {missing} on these {n} rows: add prompts where it {missing}, "
            "for without both there is nothing to tell apart"
        )
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    held = {ridge: np.zeros(n) for ridge in RIDGES}
    for ridge in RIDGES:
        for f in range(FOLDS):
            out = fold == f
            a, b = ridge_logistic(z[~out], y[~out], prior, ridge)
            held[ridge][out] = sigmoid(z[out] @ a + b)

    def likelihood(p: Array) -> float:
        p = np.clip(p, 1e-6, 1 - 1e-6)
        return float((y * np.log(p) + (1 - y) * np.log(1 - p)).sum())

    best = max(RIDGES, key=lambda ridge: likelihood(held[ridge]))
    slope, shift = ridge_logistic(z, y, prior, best)
    return Fitted(
        slope, shift, n, float(y.mean()), auc(passed, held[best]), ece(held[best], y), best
    )
