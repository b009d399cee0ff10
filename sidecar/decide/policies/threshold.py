"""The cheapest model whose chance reaches a fixed probability, else the likeliest.

Text unlike the training data raises the bar in proportion, and beyond
``ABSTAIN`` goes to the dearest model.
"""

from __future__ import annotations

from sidecar.config.snapshot import RouteSpec
from sidecar.decide.policies.base import ABSTAIN, Choice, dearest_first, in_order
from sidecar.types import Candidate, Reading


def pick(
    candidates: tuple[Candidate, ...], reading: Reading, route: RouteSpec, quality: float | None
) -> Choice:
    if reading.ood > ABSTAIN:
        return dearest_first(candidates)
    bar = route.threshold if quality is None else quality
    bar = 1.0 - (1.0 - bar) * (1.0 - reading.ood)
    order = in_order(candidates, bar)
    why = f"the cheapest with a chance of at least {bar:.3f}, else the likeliest"
    return Choice(tuple(c.model for c in order), why)
