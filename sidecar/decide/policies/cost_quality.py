"""The cheapest model whose chance is within the asked quality of the best one's.

``quality`` is the share of the best candidate's probability that must be kept.
Text unlike what the encoder was trained on narrows what may be given up, in
proportion to how unlike it is: the floor is ``1 - (1 - quality) * (1 - ood)`` of
the best probability, so that what is not understood goes up and not down.
"""

from __future__ import annotations

from sidecar.config.snapshot import RouteSpec
from sidecar.decide.policies.base import Choice, in_order, likelihood
from sidecar.types import Candidate, Reading


def pick(
    candidates: tuple[Candidate, ...], reading: Reading, route: RouteSpec, quality: float | None
) -> Choice:
    keep = route.quality if quality is None else quality
    keep = 1.0 - (1.0 - keep) * (1.0 - reading.ood)
    floor = keep * max(map(likelihood, candidates))
    order = in_order(candidates, floor)
    return Choice(
        tuple(c.model for c in order), f"the cheapest with a chance of at least {floor:.3f}"
    )
