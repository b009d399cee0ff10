"""A fitted ability finds what is there, and refuses what can't be fitted."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.errors import DataError
from sidecar.offline.fit import LEAST_ROWS, fit_ability, ridge_logistic, sigmoid

K = 8


def sample(n: int, slope: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, K))
    return z, (rng.random(n) < sigmoid(z @ slope + 0.4)).astype(float)


def test_a_fit_recovers_the_ability() -> None:
    slope = np.linspace(-1, 1, K)
    z, y = sample(4000, slope)
    found = fit_ability(z, y, np.zeros(K) + 0.1, "m")
    assert np.abs(found.slope - slope).max() < 0.2
    assert found.shift == pytest.approx(0.4, abs=0.15)
    assert found.auc is not None
    assert found.auc > 0.75
    assert found.ece < 0.05


def test_few_rows_lean_on_the_prior() -> None:
    slope = np.linspace(-1, 1, K)
    z, y = sample(60, slope)
    fresh, _ = sample(2000, slope, seed=5)
    truth = fresh @ slope
    informed, _ = ridge_logistic(z, y, slope, 100.0)
    blind, _ = ridge_logistic(z, y, np.zeros(K), 100.0)
    assert np.corrcoef(fresh @ informed, truth)[0, 1] > np.corrcoef(fresh @ blind, truth)[0, 1]


def test_too_few_rows_are_refused() -> None:
    z, y = sample(LEAST_ROWS - 1, np.ones(K))
    with pytest.raises(DataError, match="at least 50"):
        fit_ability(z, y, np.ones(K), "m")


@pytest.mark.parametrize(("value", "message"), [(1.0, "never fails"), (0.0, "never suffices")])
def test_one_class_alone_is_refused(value: float, message: str) -> None:
    z, _ = sample(80, np.ones(K))
    with pytest.raises(DataError, match=message):
        fit_ability(z, np.full(80, value), np.ones(K), "m")


def test_separable_rows_still_give_finite_numbers() -> None:
    z, _ = sample(100, np.ones(K))
    y = (z[:, 0] > 0).astype(float)
    found = fit_ability(z, y, np.zeros(K), "m")
    assert np.isfinite(found.slope).all()
