"""What models made of the prompts nearest to this one, then cost against quality.

The route's library (:mod:`sidecar.library`) gives the nearest known prompts. Each
counts, by its nearness, as an observation of every model: with its own score where the
library has one; where it has a label, an easy prompt as one that any model answers and a
hard one as one that only the dearest does. The encoder's probability counts as ``trust``
such observations, so that where nothing is near, it stands. The cheapest model whose
estimate is within the asked quality of the best one's is chosen.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sidecar.decide.policies.base import Choice, Situation, cheapest_within, dearest_first

_COST: Final = attrgetter("cost_usd")


def pick(situation: Situation) -> Choice:
    if situation.lost:
        return dearest_first(situation.candidates)
    found, weight = estimates(situation)
    choice = cheapest_within(situation, situation.candidates, found.tolist())
    return Choice(choice.order, f"{choice.why}, by neighbours that weigh {weight:.1f}")


def estimates(situation: Situation) -> tuple[NDArray[np.float64], float]:
    """P(suffices) of each candidate by its neighbours, and what all of those weigh."""
    route, candidates, models = situation.route, situation.candidates, situation.models
    known = np.array([candidate.probability or 0.0 for candidate in candidates])
    demand, library = situation.reading.demand, route.library
    if library is None or demand is None:
        return known, 0.0
    near = library.near(demand, route.similarity.neighbours)
    at = library.places([models[candidate.model].ability for candidate in candidates])
    trust = route.similarity.trust
    good = trust * known + (near.gained[at] + near.easy)
    total = near.known[at] + (trust + near.easy + near.hard)
    if near.hard:
        good[candidates.index(max(candidates, key=_COST))] += near.hard
    if not trust:  # with nothing near, the encoder is all there is
        good, total = np.where(total > 0, good, known), np.where(total > 0, total, 1.0)
    return good / total, near.weight
