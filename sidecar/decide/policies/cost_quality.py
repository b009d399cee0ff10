"""The cheapest model whose chance is within the asked quality of the best one's.

``quality`` is the share of the best candidate's probability that must be kept.
Text unlike what the encoder was trained on narrows what may be given up, in
proportion to how unlike it is: the floor is ``1 - (1 - quality) * (1 - ood)`` of
the best probability. Beyond ``ABSTAIN`` the probabilities themselves are not to
be believed, their order included, and the request goes up: to the dearest.
"""

from __future__ import annotations

from sidecar.config.snapshot import RouteSpec
from sidecar.decide.policies.base import ABSTAIN, Choice, dearest_first, in_order, likelihood
from sidecar.types import Candidate, Reading


def pick(
    candidates: tuple[Candidate, ...], reading: Reading, route: RouteSpec, quality: float | None
) -> Choice:
    if reading.ood > ABSTAIN:
        return dearest_first(candidates)
    keep = route.quality if quality is None else quality
    keep = 1.0 - (1.0 - keep) * (1.0 - reading.ood)
    floor = keep * max(map(likelihood, candidates))
    order = in_order(candidates, floor)
    why = f"the cheapest with a chance of at least {floor:.3f}"
    return Choice(tuple(c.model for c in order), why)
