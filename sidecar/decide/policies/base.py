"""The policy seam: candidates in, an order of preference out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sidecar.config.snapshot import RouteSpec
from sidecar.types import Candidate, Reading


@dataclass(frozen=True, slots=True)
class Choice:
    """The models in the order they are to be tried, and the reason in words."""

    order: tuple[str, ...]
    why: str


# Above this out-of-distribution score a reading ranks nothing.
ABSTAIN: Final = 0.5

# (capable candidates with probabilities, the reading, the route, the quality a
# caller asked for) -> the choice. Pure; at least one candidate is given.
Policy = Callable[[tuple[Candidate, ...], Reading, RouteSpec, float | None], Choice]


def likelihood(candidate: Candidate) -> float:
    """P(suffices); 0 where unknown."""
    return candidate.probability or 0.0


def in_order(candidates: tuple[Candidate, ...], enough: float) -> list[Candidate]:
    """Cheapest first among those that reach ``enough``, then the rest, likeliest first.

    The order in which an answer is worth trying: a fallback should still be
    likely to suffice before it is cheap.
    """
    reach = [c for c in candidates if likelihood(c) >= enough]
    short = [c for c in candidates if likelihood(c) < enough]
    reach.sort(key=lambda c: (c.cost_usd, -likelihood(c)))
    short.sort(key=lambda c: (-likelihood(c), c.cost_usd))
    return reach + short


def dearest_first(candidates: tuple[Candidate, ...]) -> Choice:
    """The order where the reading is not to be believed: up, by what a model costs."""
    order = sorted(candidates, key=lambda c: -c.cost_usd)
    return Choice(tuple(c.model for c in order), "unlike the training data: it goes up")
