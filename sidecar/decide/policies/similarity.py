"""What models made of the prompts nearest to this one, then cost against quality.

The route's library (:mod:`sidecar.library`) gives the nearest known prompts. Each
counts, by its nearness, as an observation of every model: with its own score where the
library has one; where it has a label, an easy prompt as one that any model answers and a
hard one as one that only the dearest does. The encoder's probability counts as ``trust``
such observations, so that where nothing is near, it stands. The cheapest model whose
estimate is within the asked quality of the best one's is chosen.
"""

from __future__ import annotations

from sidecar.decide.policies.base import Choice, Situation, cheapest_within, dearest_first
from sidecar.types import Words


def pick(situation: Situation) -> Choice:
    if situation.lost:
        return dearest_first(situation.candidates)
    found, weight = estimates(situation)
    choice = cheapest_within(situation, situation.candidates, found)
    return Choice(choice.order, Words("%s, by neighbours that weigh %.1f", (choice.why, weight)))


def estimates(situation: Situation) -> tuple[list[float], float]:
    """P(suffices) of each candidate by its neighbours, and what all of those weigh."""
    route, candidates = situation.route, situation.candidates
    own = [chance or 0.0 for chance in candidates.probabilities]
    demand, library = situation.reading.demand, route.library
    if library is None or demand is None:
        return own, 0.0
    near = library.near(demand, route.similarity.neighbours)
    at = library.places(candidates.abilities)
    trust, gained, known = route.similarity.trust, near.gained, near.known
    labelled = near.easy + near.hard
    good = [trust * chance + gained[i] + near.easy for chance, i in zip(own, at, strict=True)]
    total = [known[i] + trust + labelled for i in at]
    if near.hard:
        costs = candidates.costs
        good[costs.index(max(costs))] += near.hard
    if not trust:  # with nothing near, the encoder is all there is
        return [
            one / of if of > 0 else chance for one, of, chance in zip(good, total, own, strict=True)
        ], near.weight
    return [one / of for one, of in zip(good, total, strict=True)], near.weight
