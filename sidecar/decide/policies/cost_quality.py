"""The cheapest model whose chance is within the asked quality of the best one's.

``quality`` is the share of the best candidate's chance that must be kept. Text
unlike what the encoder was trained on narrows what may be given up, in proportion
to how unlike it is: the floor is ``1 - (1 - quality) * (1 - ood)`` of the best
chance. Where the route says ``worth_usd`` in its place, the model that is worth most
after its price. Beyond ``ABSTAIN`` the probabilities themselves are not to be
believed, their order included, and the request goes up: to the dearest.
"""

from __future__ import annotations

from sidecar.decide.policies.base import Choice, Situation, cheapest_within, dearest_first


def pick(situation: Situation) -> Choice:
    if situation.lost:
        return dearest_first(situation.candidates)
    return cheapest_within(situation, situation.candidates)
