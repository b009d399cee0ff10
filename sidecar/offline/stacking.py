"""Weights for the policy ``ensemble``, from rows that no member was made of.

A ridge logistic regression for each model (:func:`sidecar.offline.fit.ridge_logistic`),
pulled towards trusting the encoder alone. Rows whose prompt is in the library are left
out: among their neighbours would be themselves. What is reported is of held-out folds,
beside the encoder's own vote on the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sidecar.config.snapshot import RouteSpec, Snapshot
from sidecar.decide import Question, View, plan, price
from sidecar.decide.policies.base import Situation
from sidecar.decide.policies.ensemble import votes
from sidecar.errors import DataError, RequestError
from sidecar.offline.fit import FOLDS, LEAST_ROWS, ridge_logistic, sigmoid
from sidecar.offline.metrics import auc, ece
from sidecar.offline.simulate_rows import Case
from sidecar.stack import VOTES, Stack, Weights
from sidecar.types import Reading

Array = NDArray[np.float64]

_RIDGE = 10.0  # on votes of about unit size; what it is hardly matters from 1 to 100


def fit(
    cases: Sequence[Case], readings: Sequence[Reading], route: RouteSpec, snapshot: Snapshot
) -> Stack:
    """The stack of ``route`` over scored ``cases``. Raises DataError with a sentence."""
    gathered: dict[str, tuple[list[Array], list[float]]] = {}
    for case, reading in zip(cases, readings, strict=True):
        for model, vote in said(case, reading, route, snapshot).items():
            rows, scores = gathered.setdefault(model, ([], []))
            rows.append(vote)
            scores.append(case.scores[model])
    weights = {}
    for model, (rows, scores) in gathered.items():
        ability = snapshot.models[model].ability.partition("@")[0]
        weights[ability] = one(np.array(rows), np.array(scores), model)
    if not weights:
        raise DataError("no row leads to a choice between models: there is nothing to weigh")
    library = route.library.digest if route.library else ""
    return Stack(snapshot.abilities.encoder, library, VOTES, weights)


def said(case: Case, reading: Reading, route: RouteSpec, snapshot: Snapshot) -> dict[str, Array]:
    """Each capable model's votes on one case, as serving would have them."""
    try:
        question = plan(case.call, case.features, snapshot)
    except RequestError:
        return {}
    if not isinstance(question, Question):
        return {}
    view = View(now=case.now)
    found = price.candidates(case.call, question.able, reading, snapshot.abilities, view)
    situation = Situation(
        case.call, route, reading, found, snapshot.models, snapshot.abilities, view
    )
    return dict(zip(found.names, votes(situation).rows(), strict=True))


def one(x: Array, y: Array, name: str, seed: int = 0) -> Weights:
    """One model's weights from its votes [n, V] and scores [n]."""
    n, width = x.shape
    if n < LEAST_ROWS:
        raise DataError(f"{name} has {n} rows: at least {LEAST_ROWS} are needed")
    passed = y >= 0.5
    if passed.all() or not passed.any():
        raise DataError(f"{name} {'never fails' if passed.all() else 'never suffices'} here")
    trust = np.eye(width)[0]
    held = np.zeros(n)
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    for f in range(FOLDS):
        out = fold == f
        slope, shift = ridge_logistic(x[~out], y[~out], trust, _RIDGE)
        held[out] = sigmoid(x[out] @ slope + shift)
    slope, shift = ridge_logistic(x, y, trust, _RIDGE)
    own = sigmoid(x[:, 0])
    return Weights(
        slope=tuple(round(float(w), 6) for w in slope),
        shift=round(shift, 6),
        rows=n,
        auc=auc(passed, held),
        ece=ece(held, y),
        auc_encoder=auc(passed, own),
        ece_encoder=ece(own, y),
    )
