"""The policy seam: a situation in, an order of preference out.

A policy is a pure function of one frozen :class:`Situation`, which holds all that
it may look at. What a policy asks of the configuration is its own section of the
route (``situation.route``); what it needs to remember comes with the view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sidecar.config.snapshot import Abilities, ModelSpec, RouteSpec
from sidecar.decide.candidates import Candidates
from sidecar.decide.view import View
from sidecar.frozen import dataclass
from sidecar.types import Call, Reading, Words

# Above this out-of-distribution score a reading ranks nothing.
ABSTAIN: Final = 0.5


@dataclass(frozen=True, slots=True)
class Situation:
    """What a policy chooses in."""

    call: Call
    route: RouteSpec
    reading: Reading
    candidates: Candidates  # capable and within the caller's limit; at least one
    models: Mapping[str, ModelSpec]  # every configured one, by name
    abilities: Abilities
    view: View

    @property
    def lost(self) -> bool:
        """The text is so unlike the training data that its reading ranks nothing."""
        return self.reading.ood > ABSTAIN

    @property
    def limit(self) -> float | None:
        """As :func:`limit_of`."""
        return limit_of(self.call, self.route)

    @property
    def worth(self) -> float | None:
        """USD that an answer which suffices is worth; None where a share of quality is asked for,
        by the route or by the caller. Text unlike the training data makes it worth more, so that
        doubt goes up.
        """
        worth = self.route.worth_usd
        if worth is None or self.call.hints.quality is not None:
            return None
        return worth / (1.0 - min(self.reading.ood, ABSTAIN))

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
    why: Words
    tries: int = 0  # of the first in the order: their answers are checked before they pass


Policy = Callable[[Situation], Choice]


def limit_of(call: Call, route: RouteSpec) -> float | None:
    """USD that a request may cost: the caller's limit, else the route's; None without one."""
    asked = call.hints.max_cost_usd
    return route.max_cost_usd if asked is None else asked


def likelihoods(
    candidates: Candidates, chances: Sequence[float | None] | None = None
) -> list[float]:
    """The chance that an attempt at each suffices: that it answers, and well; 0 where unknown.

    ``chances`` stand for the candidates' probabilities where a policy has its own.
    """
    said = candidates.probabilities if chances is None else chances
    sure = candidates.reliabilities
    if sure is None:
        return [chance or 0.0 for chance in said]
    return [(chance or 0.0) * sure[at] for at, chance in enumerate(said)]


def with_waiting(candidates: Candidates, usd_per_s: float) -> Sequence[float]:
    """Expected USD of each, with its expected seconds at ``usd_per_s``; a model not yet timed is
    taken to be as quick as the mean of the others.
    """
    costs = candidates.costs
    if not usd_per_s:
        return costs
    waits = candidates.waits
    timed = [wait for wait in waits if wait is not None]
    if len(timed) < len(waits):
        usual = sum(timed) / len(timed) if timed else 0.0
        timed = [usual if wait is None else wait for wait in waits]
    return [cost + usd_per_s * wait for cost, wait in zip(costs, timed, strict=True)]


def in_order(
    candidates: Candidates, likely: Sequence[float], enough: float, usd_per_s: float
) -> tuple[str, ...]:
    """Cheapest first among those that reach ``enough``, then the rest, likeliest first.

    The order in which an answer is worth trying: a fallback should still be
    likely to suffice before it is cheap.
    """
    costs = with_waiting(candidates, usd_per_s)
    # the chance, turned round, so that one sort puts the cheap and then the likely first;
    # loops and not zip, which the compiler leaves to the interpreter
    rows = [(costs[at], -likely[at], name) for at, name in enumerate(candidates.names)]
    rows.sort()
    bar, order = -enough, []
    short: list[tuple[float, float, str]] = []
    for cost, unlikely, name in rows:
        if unlikely <= bar:
            order.append(name)
        else:
            short.append((unlikely, cost, name))
    if short:
        short.sort()
        order += [name for _, _, name in short]
    return tuple(order)


def cheapest_within(
    situation: Situation, candidates: Candidates, chances: Sequence[float] | None = None
) -> Choice:
    """The cheapest whose chance is within the asked quality of the best one's; where the route
    says what an answer is worth, the one that is worth most after its price.

    ``chances`` stand for the candidates' probabilities where a policy has its own.
    """
    likely = likelihoods(candidates, chances)
    worth = situation.worth
    if worth is not None:
        return worth_most(candidates, likely, worth, situation.route.usd_per_s)
    best = 0.0
    for chance in likely:
        best = max(best, chance)
    floor = situation.asked(situation.route.quality) * best
    order = in_order(candidates, likely, floor, situation.route.usd_per_s)
    return Choice(order, Words("the cheapest with a chance of at least %.3f", (floor,)))


def worth_most(
    candidates: Candidates, likely: Sequence[float], worth: float, usd_per_s: float
) -> Choice:
    """By ``chance * worth - cost``, the most first.

    Over many requests no choice among the same chances keeps more quality for the same money:
    the requests where a dearer model adds most chance for a dollar are the ones that get it
    (Everett 1963, generalised Lagrange multipliers, of which ``1 / worth`` is one).
    """
    costs = with_waiting(candidates, usd_per_s)
    rows = [(costs[at] - worth * likely[at], name) for at, name in enumerate(candidates.names)]
    rows.sort()
    why = "worth most after its price, at %.3g USD for an answer that suffices"
    return Choice(tuple([name for _, name in rows]), Words(why, (worth,)))


def dearest_first(candidates: Candidates) -> Choice:
    """The order where the reading is not to be believed: up, by what a model costs."""
    costs = candidates.costs
    order = sorted(range(len(costs)), key=lambda i: -costs[i])
    names = tuple([candidates.names[i] for i in order])
    return Choice(names, Words("unlike the training data: it goes up"))
