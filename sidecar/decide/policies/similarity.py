"""What models made of the prompts nearest to this one, then cost against quality.

The route's library (:mod:`sidecar.library`) gives the nearest known prompts. Each
counts, by its nearness, as an observation of every model: with its own score where the
library has one; where it has a label, an easy prompt as one that any model answers and a
hard one as one that only the dearest does. The encoder's probability counts as ``trust``
such observations, so that where nothing is near, it stands. The cheapest model whose
estimate is within the asked quality of the best one's is chosen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sidecar.decide.policies.base import Choice, Situation, cheapest_within, dearest_first
from sidecar.decide.policies.told import with_chances
from sidecar.types import Words

Array = NDArray[np.float64]


def pick(situation: Situation) -> Choice:
    if situation.lost:
        return dearest_first(situation.candidates)
    found, weight = estimates(situation, own_chances(situation))
    candidates, chances = situation.candidates, found.tolist()
    choice = cheapest_within(situation, candidates, chances)
    why = Words("%s, by neighbours that weigh %.1f", (choice.why, weight))
    said = with_chances(why, "and the encoder", candidates, chances, choice.order)
    return Choice(choice.order, said)


def own_chances(situation: Situation) -> Array:
    """P(suffices) of each candidate as the encoder says; 0 where it says nothing."""
    return np.array([chance or 0.0 for chance in situation.candidates.probabilities])


def estimates(situation: Situation, own: Array) -> tuple[Array, float]:
    """P(suffices) of each candidate by its neighbours and ``own``, the encoder's, and what
    all of those neighbours weigh."""
    route, candidates = situation.route, situation.candidates
    demand, library, trust = situation.reading.demand, route.library, route.similarity.trust
    if library is None or demand is None:
        return own, 0.0
    near = library.near(demand, route.similarity.neighbours, candidates.abilities)
    good, total = trust * own, near.known + trust
    good += near.gained
    if near.hard:
        costs = candidates.costs
        good[costs.index(max(costs))] += near.hard
    if trust:
        good /= total
        return good, near.weight
    # with nothing near, the encoder is all there is
    return np.divide(good, total, out=own.copy(), where=total > 0), near.weight
