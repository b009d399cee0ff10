"""The cheapest model whose chance reaches a fixed probability, else the likeliest.

Text unlike the training data raises the bar in proportion, and beyond
``ABSTAIN`` goes to the dearest model.
"""

from __future__ import annotations

from sidecar.decide.policies.base import Choice, Situation, dearest_first, in_order, likelihoods
from sidecar.types import Words


def pick(situation: Situation) -> Choice:
    if situation.lost:
        return dearest_first(situation.candidates)
    bar = situation.asked(situation.route.threshold)
    likely = likelihoods(situation.candidates)
    order = in_order(situation.candidates, likely, bar, situation.route.usd_per_s)
    why = "the cheapest with a chance of at least %.3f, else the likeliest"
    return Choice(order, Words(why, (bar,)))
