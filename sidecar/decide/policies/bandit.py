"""Cost-quality over drawn chances: it tries what it is not sure of, and learns from the scores.

Thompson sampling (Thompson 1933; Chapelle and Li 2011): each decision draws every
model's ability once from what is believed of it, and takes the cheapest model whose
drawn chance is within the asked quality of the best drawn one. A model about which
little is known is drawn high now and then, and so is tried; the scores that come back
(``/v1/feedback``) narrow the belief. Without draws, and offline, it is ``cost_quality``.
"""

from __future__ import annotations

from typing import Final

from sidecar.decide.policies.base import Choice, Situation, cheapest_within, dearest_first
from sidecar.types import Candidate

_SAID: Final = 3  # models whose draws the reason tells


def pick(situation: Situation) -> Choice:
    if situation.lost:
        return dearest_first(situation.candidates)
    candidates, draws = situation.candidates, situation.view.draws
    names = [candidate.model for candidate in candidates]
    drawn = draws.probabilities(situation.reading, names) if draws is not None else None
    if drawn is None:
        return cheapest_within(situation, candidates)
    tried = [
        Candidate(c.model, p, c.cost_usd, c.latency_s, c.reliability)
        for c, p in zip(candidates, drawn, strict=True)
    ]
    choice = cheapest_within(situation, tried)
    first = dict(zip(names, drawn, strict=True))
    said = ", ".join(f"{name} {first[name]:.3f}" for name in choice.order[:_SAID])
    return Choice(choice.order, f"{choice.why}, as drawn: {said}")
