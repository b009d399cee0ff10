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
from sidecar.types import Words

_SAID: Final = 3  # models whose draws the reason tells


def pick(situation: Situation) -> Choice:
    if situation.lost:
        return dearest_first(situation.candidates)
    candidates, draws = situation.candidates, situation.view.draws
    names = candidates.names
    drawn = draws.probabilities(situation.reading, names) if draws is not None else None
    if drawn is None:
        return cheapest_within(situation, candidates)
    choice = cheapest_within(situation, candidates, drawn)
    said = Words(_as_drawn, (choice.why, choice.order[:_SAID], tuple(names), tuple(drawn)))
    return Choice(choice.order, said)


def _as_drawn(
    why: Words, first: tuple[str, ...], names: tuple[str, ...], drawn: tuple[float, ...]
) -> str:
    by_name = dict(zip(names, drawn, strict=True))
    return f"{why}, as drawn: {', '.join(f'{name} {by_name[name]:.3f}' for name in first)}"
