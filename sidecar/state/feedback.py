"""What is kept of recent requests, so that a score of an answer finds its request.

A bounded ring: the newest ``keep`` requests of at most ``keep_s`` seconds ago. Of each
it holds the model, the demand vector and the names that a report sums by; no text.
Scores come in at most at a configured rate, for each costs an update.
"""

from __future__ import annotations

import time
from array import array
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from sidecar.beside import Beside
from sidecar.decide.candidates import Candidates
from sidecar.errors import NotFound, TooManyRequests
from sidecar.types import Call, Decision, Outcome, Reading

Demands = Beside[Reading, "array[float]"]

_SIGNED: Final = 2_000  # characters of each end of a prompt that tell it from another
_LOOK_S: Final = 1.0  # between two looks for what is too old


@dataclass(slots=True)
class Answered:
    """One request that was answered, as a score of it needs it."""

    request_id: str
    at: float  # seconds, monotonic
    model: str
    route: str
    tenant: str | None
    arm: str | None
    probability: float | None  # that the model suffices, as it was decided with
    demand: array[float] | None  # None where nothing was read
    scored: bool = False
    again: bool = False  # it asked what had just been asked

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, for another worker's :meth:`of`."""
        demand = None if self.demand is None else self.demand.tolist()
        return {**asdict(self), "demand": demand}

    @classmethod
    def of(cls, said: dict[str, Any]) -> Answered:
        demand = said["demand"]
        return cls(**{**said, "demand": None if demand is None else array("f", demand)})


def answered(
    call: Call, decision: Decision, outcome: Outcome, at: float, demands: Demands
) -> Answered:
    """What is kept of one request; ``demands`` are of readings that came before."""
    reading = decision.reading
    demand = None if reading is None else _demand(reading, demands)
    rows = decision.candidates
    if isinstance(rows, Candidates):
        chance = rows.chance(outcome.model)
    else:
        chance = next((row.probability for row in rows if row.model == outcome.model), None)
    return Answered(
        call.request_id, at, outcome.model, decision.route, call.hints.tenant, decision.arm,
        chance, demand,
    )  # fmt: skip


def _demand(reading: Reading, demands: Demands) -> array[float] | None:
    """What a reading asks, as it is kept: of one that a cache keeps ready, the same each time."""
    said = reading.demand
    if said is None:
        return None
    found = demands.find(reading)
    if found is not None:
        return found
    demand = array("f")
    demand.frombytes(_packing(len(said)).pack(*said))  # array("f", said) takes four times as long
    if reading.remembered == "exact":  # any other is made anew each time
        demands.keep(reading, demand)
    return demand


@lru_cache(maxsize=8)
def _packing(numbers: int) -> Struct:
    return Struct(f"{numbers}f")


class Recent:
    """The newest requests by id."""

    def __init__(self, keep: int, keep_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._keep, self._keep_s, self._now = keep, keep_s, now
        self._by_id: OrderedDict[str, Answered] = OrderedDict()
        self._due = 0.0  # when to look again for what is too old

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, one: Answered) -> None:
        kept = self._by_id
        kept[one.request_id] = one
        while len(kept) > self._keep:
            kept.popitem(last=False)
        if one.at >= self._due:
            self._due = one.at + _LOOK_S
            while kept and next(iter(kept.values())).at < one.at - self._keep_s:
                kept.popitem(last=False)

    def get(self, request_id: str) -> Answered | None:
        """The request, or None where it is unknown or too old."""
        found = self._by_id.get(request_id)
        if found is None or found.at < self._now() - self._keep_s:
            return None
        return found

    def find(self, request_id: str) -> Answered:
        """The request; :class:`NotFound` where it is unknown or too old."""
        found = self.get(request_id)
        if found is None:
            raise NotFound(
                f"No request {request_id[:80]!r} is remembered. It is unknown or too old: the last "
                f"{self._keep} of {self._keep_s:g} s are kept. Send the x-router-request-id of its "
                "answer.",
                param="request_id",
                code="request_not_found",
            )
        return found


class Rate:
    """A token bucket: ``per_second``, and up to twice that at once."""

    def __init__(self, per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._now = per_second, now
        self._most = max(1.0, 2 * per_second)
        self._left, self._at = self._most, now()

    def take(self) -> None:
        """Take one; :class:`TooManyRequests` where none is left."""
        now = self._now()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            raise TooManyRequests(
                f"More than {self._rate:g} scores a second came. Send them slower, or raise "
                "feedback.per_second.",
                code="feedback_flood",
            )
        self._left -= 1.0


class Regenerated:
    """Notices that the same caller asks the same thing again: the answer was not liked.

    A row of repeats, each within ``within_s`` of the one before, is one signal: a job
    that sends one prompt a thousand times says as much as one that sends it twice.
    """

    def __init__(self, within_s: float, keep: int = 10_000) -> None:
        self._within_s, self._keep = within_s, keep
        self._last: OrderedDict[int, Answered] = OrderedDict()
        self._due = 0.0  # when to look again for what is too old

    def notice(self, call: Call, one: Answered) -> Answered | None:
        """The request that ``call`` asks anew, if this is the first time since a pause."""
        key = _signature(call)
        kept = self._last
        before = kept.get(key)
        kept[key] = one
        if before is not None:
            kept.move_to_end(key)
        while len(kept) > self._keep:
            kept.popitem(last=False)
        if one.at >= self._due:
            self._due = one.at + _LOOK_S
            while kept and next(iter(kept.values())).at < one.at - self._within_s:
                kept.popitem(last=False)  # the oldest is first
        if before is None or one.at - before.at > self._within_s:
            return None
        one.again = True
        return None if before.again or before.scored else before


def _signature(call: Call) -> int:
    """Who asks what: the session, or where none is named the tenant, and the text's ends.

    Python's keyed string hash, as of conversations: it has been worked out already for every
    text that is no longer than what is looked at.
    """
    hints, prompt = call.hints, call.prompt
    system, user = prompt.system[:_SIGNED], prompt.user
    return hash(
        (
            call.model, hints.session, hints.tenant, prompt.turns,
            system, user[:_SIGNED], user[-_SIGNED:], len(user),
        )
    )  # fmt: skip
