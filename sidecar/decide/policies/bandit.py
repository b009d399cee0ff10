"""Cost-quality over drawn chances: it tries what it is not sure of, and learns from the scores.

Thompson sampling (Thompson 1933; Chapelle and Li 2011): each decision draws every
model's ability once from what is believed of it, and takes the cheapest model whose
drawn chance is within the asked quality of the best drawn one. A model about which
little is known is drawn high now and then, and so is tried; the scores that come back
(``/v1/feedback``) narrow the belief. Without draws, and offline, it is ``cost_quality``.
"""

from __future__ import annotations

from dataclasses import replace

from sidecar.decide.policies.base import Choice, Situation, cheapest_within, dearest_first


def pick(situation: Situation) -> Choice:
    if situation.lost:
        return dearest_first(situation.candidates)
    candidates, draws = situation.candidates, situation.view.draws
    names = [candidate.model for candidate in candidates]
    drawn = draws.probabilities(situation.reading, names) if draws is not None else None
    if drawn is None:
        return cheapest_within(situation, candidates)
    tried = [replace(c, probability=p) for c, p in zip(candidates, drawn, strict=True)]
    choice = cheapest_within(situation, tried)
    said = ", ".join(f"{name} {p:.3f}" for name, p in zip(names, drawn, strict=True))
    return Choice(choice.order, f"{choice.why}, as drawn: {said}")
