"""Which of a route's models can serve a kind of request: worked out once for each kind.

A kind is what a request needs, its dialect, and between which two models' windows its
length falls: a handful a route, whatever the traffic. What is worked out lives with the
configuration's snapshot, so that a reload, a new price or a learnt ability begins anew.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sidecar.beside import Beside
from sidecar.config.snapshot import Abilities, ModelSpec, RouteSpec, Snapshot
from sidecar.decide import capability
from sidecar.decide.rules import Judge
from sidecar.types import Call, Reading, Step

_KINDS: Final = 256  # of one route that are kept


@dataclass(frozen=True, slots=True)
class Able:
    """The models of a route that can serve a request, by column, and those that cannot."""

    models: tuple[ModelSpec, ...]  # of the policy's list, in its order
    names: tuple[str, ...]  # of ``models``
    abilities: tuple[str, ...]  # whose ability each has
    prices: tuple[tuple[str, float, float, float], ...]  # name, input, cached input, output
    overridden: tuple[int, ...]  # the columns of those that get something else than was sent
    line: tuple[str, ...]  # ``names``, then the default where it can and is not among them
    outside: bool  # whether it is not
    barred: frozenset[str]  # every model that the route names, and that lacks something
    step: Step | None  # what is said of them; None where that tells of the request's length
    none: bool  # there is nobody to serve it
    # what was worked out of readings that a cache keeps ready, and so come again
    _chances: Beside[Reading, Sequence[float]] = field(
        default_factory=Beside, init=False, repr=False, compare=False
    )

    def chances(self, reading: Reading, known: Abilities) -> Sequence[float]:
        """P(suffices) of each model; ``known`` are the snapshot's abilities."""
        found = self._chances.find(reading)
        if found is not None:
            return found
        row = known.probabilities(reading, self.abilities)
        if reading.remembered == "exact":  # any other is made anew each time
            self._chances.keep(reading, row)
        return row


class Table:
    """One route as the decision reads it."""

    __slots__ = ("_kinds", "_rooms", "after", "before", "everyone", "route")

    def __init__(self, route: RouteSpec, snapshot: Snapshot) -> None:
        names = (*route.models, *(rule.model for rule in route.rules), route.default)
        self.route = route
        self.everyone = tuple(snapshot.models[name] for name in dict.fromkeys(names))
        judges = [Judge.of(rule) for rule in route.rules]
        # rules that need no reading are judged first, whatever order they are written in
        self.before = tuple(judge for judge in judges if not judge.rule.needs_reading)
        self.after = tuple(judge for judge in judges if judge.rule.needs_reading)
        self._rooms = sorted({capability.room(spec) for spec in self.everyone})
        self._kinds: dict[tuple[frozenset[str], str, int], Able] = {}

    def able(self, call: Call) -> Able:
        """Who can serve ``call``."""
        wanted = capability.wanted_room(call)
        kind = (call.needs, call.dialect, bisect_left(self._rooms, wanted))
        found = self._kinds.get(kind)
        if found is None:
            if len(self._kinds) >= _KINDS:
                self._kinds.clear()
            found = self._kinds[kind] = self._worked_out(call)
        return found

    def said(self, call: Call, able: Able) -> Step:
        """What is said of those that cannot serve ``call``."""
        return able.step or _lacking(capability.lacks(call, self.everyone))

    def _worked_out(self, call: Call) -> Able:
        route, lacks = self.route, capability.lacks(call, self.everyone)
        # the route's own models are the first of everyone, in its order
        own = self.everyone[: len(route.models)]
        models = tuple(spec for spec in own if spec.name not in lacks)
        names = tuple(spec.name for spec in models)
        outside = route.default not in names and route.default not in lacks
        roomy = all(capability.has_room(call, spec) for spec in self.everyone)
        return Able(
            models=models,
            names=names,
            abilities=tuple(spec.ability for spec in models),
            prices=tuple(
                (spec.name, spec.price.input, spec.price.cached_input, spec.price.output)
                for spec in models
            ),
            overridden=tuple(i for i, spec in enumerate(models) if spec.overrides is not None),
            line=(*names, route.default) if outside else names,
            outside=outside,
            barred=frozenset(lacks),
            step=_lacking(lacks) if roomy else None,
            none=len(lacks) == len(self.everyone),
        )


def table_of(route: RouteSpec, snapshot: Snapshot) -> Table:
    """What ``snapshot`` says of ``route``, one of its own."""
    found: Table | None = snapshot.worked_out.get(id(route))
    if found is None or found.route is not route:
        found = snapshot.worked_out[id(route)] = Table(route, snapshot)
    return found


def _lacking(lacks: dict[str, tuple[str, ...]]) -> Step:
    said = "; ".join(f"{name} has no {', '.join(lack)}" for name, lack in lacks.items())
    return Step("capability", said or "every model can")
