"""What is believed of an ability follows the scores, and no further than they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.state.posterior import Panel, learnt, prior

K = 8
SLOPE = np.linspace(-0.4, 0.5, K)


def logit(belief, z) -> float:
    return float(belief.mean @ np.append(z, 1.0))


def test_many_scores_find_the_ability_behind_them() -> None:
    rng = np.random.default_rng(1)
    truth = np.append(SLOPE * 1.2 + 0.05, -1.5)
    belief = prior(SLOPE, 1.0)
    for _ in range(3000):
        z = rng.normal(size=K)
        p = 1 / (1 + np.exp(-(truth @ np.append(z, 1.0))))
        belief = learnt(belief, z, float(rng.random() < p), 1.0, 1e6)
    z = rng.normal(size=(500, K))
    x = np.column_stack([z, np.ones(500)])
    said, true = (1 / (1 + np.exp(-(x @ w))) for w in (belief.mean, truth))
    assert np.abs(said - true).mean() < 0.03
    assert belief.scores == 3000


def test_a_model_that_changed_is_followed() -> None:
    rng = np.random.default_rng(2)
    belief = prior(SLOPE, 0.0)
    for shift in (2.0, -1.5):  # it got worse
        truth = np.append(SLOPE, shift)
        for _ in range(1000):
            z = rng.normal(size=K)
            p = 1 / (1 + np.exp(-(truth @ np.append(z, 1.0))))
            belief = learnt(belief, z, float(rng.random() < p), 1.0, 300)
        x = np.column_stack([rng.normal(size=(300, K)), np.ones(300)])
        said, true = (1 / (1 + np.exp(-(x @ w))) for w in (belief.mean, truth))
        assert np.mean(said) == pytest.approx(np.mean(true), abs=0.06)


@given(
    z=st.lists(st.floats(-20, 20), min_size=K, max_size=K),
    score=st.floats(0, 1),
    weight=st.floats(0.01, 1),
    shift=st.floats(-30, 30),
)
def test_a_score_never_moves_a_belief_past_itself(
    z: list[float], score: float, weight: float, shift: float
) -> None:
    demand = np.array(z)
    before = prior(SLOPE, shift)
    after = learnt(before, demand, score, weight, 1000)
    old, new = (1 / (1 + np.exp(-logit(b, demand))) for b in (before, after))
    assert min(old, score) - 1e-6 <= new <= max(old, score) + 1e-6
    assert np.isfinite(after.covariance).all()
    assert np.linalg.eigvalsh(after.covariance).min() > -1e-9


def test_draws_have_the_spread_of_what_is_not_known() -> None:
    rng = np.random.default_rng(3)
    known, unknown = prior(SLOPE, 0.5), prior(SLOPE, 0.5)
    z = rng.normal(size=K)
    for _ in range(200):
        known = learnt(known, z, 0.6, 1.0, 1e6)
    panel = Panel.of({"known": known, "unknown": unknown})
    drawn = [panel.drawn(z, rng.standard_normal(2)) for _ in range(400)]
    assert np.std([d["known"] for d in drawn]) < 0.5 * np.std([d["unknown"] for d in drawn])
    assert np.mean([d["known"] for d in drawn]) == pytest.approx(0.6, abs=0.03)
    normals = np.array([0.3, -0.2])
    assert panel.drawn(z, normals) == panel.drawn(z, normals)
