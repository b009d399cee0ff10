"""The policy seam: a situation in, an order of preference out.

A policy is a pure function of one frozen :class:`Situation`, which holds all that
it may look at. What a policy asks of the configuration is its own section of the
route (``situation.route``); what it needs to remember comes with the view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sidecar.config.snapshot import Abilities, ModelSpec, RouteSpec
from sidecar.decide.view import View
from sidecar.frozen import dataclass
from sidecar.types import Call, Candidate, Reading

# Above this out-of-distribution score a reading ranks nothing.
ABSTAIN: Final = 0.5


@dataclass(frozen=True, slots=True)
class Situation:
    """What a policy chooses in."""

    call: Call
    route: RouteSpec
    reading: Reading
    candidates: tuple[Candidate, ...]  # capable and within the caller's limit; at least one
    models: Mapping[str, ModelSpec]  # every configured one, by name
    abilities: Abilities
    view: View

    @property
    def lost(self) -> bool:
        """The text is so unlike the training data that its reading ranks nothing."""
        return self.reading.ood > ABSTAIN

    def asked(self, configured: float) -> float:
        """The share of quality to keep: the caller's, else ``configured``, and more of it
        where the text is unlike the training data, in proportion to how unlike it is."""
        asked = self.call.hints.quality
        keep = configured if asked is None else asked
        return 1.0 - (1.0 - keep) * (1.0 - self.reading.ood)


@dataclass(frozen=True, slots=True)
class Choice:
    """The models in the order they are to be tried, and the reason in words."""

    order: tuple[str, ...]
    why: str
    tries: int = 0  # of the first in the order: their answers are checked before they pass


Policy = Callable[[Situation], Choice]


def likelihood(candidate: Candidate) -> float:
    """The chance that an attempt suffices: that it answers, and well; 0 where unknown."""
    return (candidate.probability or 0.0) * candidate.reliability


def likelihoods(
    candidates: Sequence[Candidate], chances: Sequence[float] | None = None
) -> list[float]:
    """:func:`likelihood` of each, where ``chances`` may stand for the probabilities."""
    if chances is None:
        return [likelihood(candidate) for candidate in candidates]
    return [chance * c.reliability for c, chance in zip(candidates, chances, strict=True)]


def in_order(
    candidates: Sequence[Candidate], likely: Sequence[float], enough: float, usd_per_s: float
) -> tuple[str, ...]:
    """Cheapest first among those that reach ``enough``, then the rest, likeliest first.

    The order in which an answer is worth trying: a fallback should still be
    likely to suffice before it is cheap. A second of waiting costs ``usd_per_s``;
    a model not yet timed is taken to be as quick as the mean of the others.
    """
    costs = [candidate.cost_usd for candidate in candidates]
    if usd_per_s:
        timed = [c.latency_s for c in candidates if c.latency_s is not None]
        usual = sum(timed) / len(timed) if timed else 0.0
        for i, candidate in enumerate(candidates):
            wait = candidate.latency_s
            costs[i] += usd_per_s * (usual if wait is None else wait)
    reach, short = [], []
    for candidate, chance, cost in zip(candidates, likely, costs, strict=True):
        if chance >= enough:
            reach.append((cost, -chance, candidate.model))
        else:
            short.append((-chance, cost, candidate.model))
    reach.sort()
    short.sort()
    return tuple([found[2] for found in reach] + [found[2] for found in short])


def cheapest_within(
    situation: Situation, candidates: Sequence[Candidate], chances: Sequence[float] | None = None
) -> Choice:
    """The cheapest whose chance is within the asked quality of the best one's.

    ``chances`` stand for the candidates' probabilities where a policy has its own.
    """
    likely = likelihoods(candidates, chances)
    floor = situation.asked(situation.route.quality) * max(likely)
    order = in_order(candidates, likely, floor, situation.route.usd_per_s)
    return Choice(order, f"the cheapest with a chance of at least {floor:.3f}")


def dearest_first(candidates: tuple[Candidate, ...]) -> Choice:
    """The order where the reading is not to be believed: up, by what a model costs."""
    order = sorted(candidates, key=lambda c: -c.cost_usd)
    return Choice(tuple(c.model for c in order), "unlike the training data: it goes up")
