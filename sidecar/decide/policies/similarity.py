"""What models made of the prompts nearest to this one, then cost against quality.

The route's library (:mod:`sidecar.library`) gives the nearest known prompts. Each
counts, by its nearness, as an observation of every model: with its own score where the
library has one; where it has a label, an easy prompt as one that any model answers and a
hard one as one that only the dearest does. The encoder's probability counts as ``trust``
such observations, so that where nothing is near, it stands. The cheapest model whose
estimate is within the asked quality of the best one's is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sidecar.decide.policies.base import Choice, Situation, cheapest_within, dearest_first
from sidecar.types import Candidate


def pick(situation: Situation) -> Choice:
    if situation.lost:
        return dearest_first(situation.candidates)
    found, weight = estimates(situation)
    candidates = [
        replace(candidate, probability=chance)
        for candidate, chance in zip(situation.candidates, found, strict=True)
    ]
    choice = cheapest_within(situation, candidates)
    return Choice(choice.order, f"{choice.why}, by neighbours that weigh {weight:.1f}")


def estimates(situation: Situation) -> tuple[list[float], float]:
    """P(suffices) of each candidate by its neighbours, and what all of those weigh."""
    route, candidates = situation.route, situation.candidates
    demand, library = situation.reading.demand, route.library
    known = [candidate.probability or 0.0 for candidate in candidates]
    if library is None or demand is None:
        return known, 0.0
    near = library.near(demand, route.similarity.neighbours)
    easy, hard = near.labelled
    dearest = _dearest(candidates)
    trust = route.similarity.trust
    columns = [library.columns.get(_ability(situation, c)) for c in candidates]
    weighed, gained = _observed(near.weights, near.scores)
    found = []
    for candidate, chance, column in zip(candidates, known, columns, strict=True):
        total, good = trust + easy + hard, trust * chance + easy
        if candidate is dearest:
            good += hard
        if column is not None:
            total += weighed[column]
            good += gained[column]
        found.append(good / total if total else chance)
    return found, float(near.weights.sum())


def _ability(situation: Situation, candidate: Candidate) -> str:
    return situation.models[candidate.model].ability.partition("@")[0]


def _dearest(candidates: Sequence[Candidate]) -> Candidate:
    return max(candidates, key=lambda candidate: candidate.cost_usd)


def _observed(
    weights: np.ndarray[tuple[int], np.dtype[np.float64]],
    scores: np.ndarray[tuple[int, int], np.dtype[np.float32]],
) -> tuple[list[float], list[float]]:
    """By column, the weight of the neighbours that have a score, and their weighted scores."""
    known = ~np.isnan(scores)
    filled = np.where(known, scores, 0.0)
    return (weights @ known).tolist(), (weights @ filled).tolist()
