"""Cost-quality over drawn chances: it tries what it is not sure of, and learns from the scores.

Thompson sampling (Thompson 1933; Chapelle and Li 2011): each decision draws every
model's ability once from what is believed of it, and takes the cheapest model whose
drawn chance is within the asked quality of the best drawn one. A model about which
little is known is drawn high now and then, and so is tried; the scores that come back
(``/v1/feedback``) narrow the belief. Without draws, and offline, it is ``cost_quality``.
"""

from __future__ import annotations

from sidecar.decide.policies.base import Choice, Situation, cheapest_within, dearest_first
from sidecar.decide.policies.told import with_chances


def pick(situation: Situation) -> Choice:
    if situation.lost:
        return dearest_first(situation.candidates)
    candidates, draws = situation.candidates, situation.view.draws
    names = candidates.names
    drawn = draws.probabilities(situation.reading, names) if draws is not None else None
    if drawn is None:
        return cheapest_within(situation, candidates)
    choice = cheapest_within(situation, candidates, drawn)
    said = with_chances(choice.why, "as drawn", candidates, drawn, choice.order)
    return Choice(choice.order, said)
