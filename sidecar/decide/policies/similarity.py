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

from sidecar.decide.policies.base import Choice, Situation, cheapest_within, dearest_first

_COST: Final = attrgetter("cost_usd")


def pick(situation: Situation) -> Choice:
    if situation.lost:
        return dearest_first(situation.candidates)
    chances, weight = estimates(situation)
    choice = cheapest_within(situation, situation.candidates, chances)
    return Choice(choice.order, f"{choice.why}, by neighbours that weigh {weight:.1f}")


def estimates(situation: Situation) -> tuple[list[float], float]:
    """P(suffices) of each candidate by its neighbours, and what all of those weigh."""
    route, candidates, models = situation.route, situation.candidates, situation.models
    demand, library = situation.reading.demand, route.library
    if library is None or demand is None:
        return [candidate.probability or 0.0 for candidate in candidates], 0.0
    near = library.near(demand, route.similarity.neighbours)
    trust, columns = route.similarity.trust, library.columns
    labelled = near.easy + near.hard
    dearest = max(candidates, key=_COST) if near.hard else None
    found = []
    for candidate in candidates:
        chance = candidate.probability or 0.0
        total, good = trust + labelled, trust * chance + near.easy
        if candidate is dearest:
            good += near.hard
        column = columns.get(models[candidate.model].ability.partition("@")[0])
        if column is not None:
            total += near.known[column]
            good += near.gained[column]
        found.append(good / total if total else chance)
    return found, near.weight
