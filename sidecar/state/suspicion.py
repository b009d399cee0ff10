"""Who tries to talk the router up or down: one prompt, with a phrase and without, two models.

A caller who games the router sends what was sent before with a few words put before
or behind it, and another model answers. That is noticed without a list of phrases:
one text is the other and up to 240 characters more at one end, by the same tenant on
the same route within ten minutes, and the models differ. It is counted, by tenant in
the decision log and its report, and nothing is refused: a question that was put
better looks the same.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from sidecar.beside import Beside
from sidecar.frozen import dataclass
from sidecar.observe.metrics import Registry
from sidecar.types import Call, Decision, Features

_KEEP: Final = 2_048  # prompts, of at most 1,200 characters each: 2 MB, full within minutes
_WITHIN_S: Final = 600.0
_ADDED: Final = 240  # characters of a phrase, at most
_LOOK_S: Final = 1.0  # between two looks for prompts that are too old
_CORE: Final = 24  # characters that two prompts share, at least
_CHOSEN: Final = frozenset({"policy", "cache"})  # reasons for which the words decided


@dataclass(frozen=True, slots=True)
class _Said:
    """What a window says of its prompt, worked out once for one that comes again."""

    text: str  # of the last turn
    head: int  # keyed hashes of its ends, which nobody outside can aim at
    tail: int


@dataclass(frozen=True, slots=True)
class _Asked:
    at: float
    text: str
    model: str
    price: float


class Suspicion:
    """The latest prompts of one worker, in memory only, and what they were answered by."""

    def __init__(self, registry: Registry, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        # by a keyed hash of who asked and of one end of the text
        self._asked: OrderedDict[int, _Asked] = OrderedDict()
        self._said: Beside[str, _Said] = Beside()  # of windows
        self._due = 0.0  # when to look again for what is too old
        self._flips = registry.counter(
            "router_suspicious_flips",
            "Requests whose model changed with a few words before or behind the same prompt.",
            ("route", "direction"),
        )

    def notice(
        self, call: Call, features: Features, decision: Decision, price: float
    ) -> str | None:
        """``up`` or ``down`` where this request is the same prompt with a few words changed.

        ``price`` is of a million tokens of the chosen model's output.
        """
        if decision.reason not in _CHOSEN:
            return None
        said = self._said_of(features.window)
        if len(said.text) < _CORE:
            return None
        one = _Asked(self._now(), said.text, decision.model, price)
        route, tenant = decision.route, call.hints.tenant or ""
        before = self._put(hash((route, tenant, "head", said.head)), one)
        found = None if before is None else self._flipped(before, one, "head")
        before = self._put(hash((route, tenant, "tail", said.tail)), one)
        if before is not None and found is None:
            found = self._flipped(before, one, "tail")
        asked = self._asked
        while len(asked) > 2 * _KEEP:
            asked.popitem(last=False)
        if one.at >= self._due:
            self._due = one.at + _LOOK_S
            while next(iter(asked.values())).at < one.at - _WITHIN_S:
                asked.popitem(last=False)  # the oldest is first; the newest is never too old
        if found is not None:
            self._flips.add((decision.route, found))
        return found

    def _said_of(self, window: str) -> _Said:
        """What ``window`` says; those of the latest prompts come again as the same object."""
        said = self._said.find(window)
        if said is None:
            text = window.rpartition("\ue001")[2].strip()
            said = _Said(text, hash(text[:_CORE]), hash(text[-_CORE:]))
            self._said.keep(window, said)
        return said

    def _put(self, place: int, one: _Asked) -> _Asked | None:
        """Remember ``one`` as the newest; what stood in its place."""
        before = self._asked.pop(place, None)
        self._asked[place] = one
        return before

    def _flipped(self, before: _Asked, one: _Asked, end: str) -> str | None:
        """``up`` or ``down`` where one text is the other and a little more beyond ``end``."""
        if before.model == one.model or one.at - before.at > _WITHIN_S:
            return None
        short, long = sorted((before.text, one.text), key=len)
        if not 0 < len(long) - len(short) <= _ADDED:
            return None
        if not (long.startswith(short) if end == "head" else long.endswith(short)):
            return None
        return "up" if one.price > before.price else "down"
