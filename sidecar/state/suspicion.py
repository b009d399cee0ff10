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

from sidecar.frozen import dataclass
from sidecar.observe.metrics import Registry
from sidecar.types import Call, Decision, Features

_KEEP: Final = 2_048  # prompts, of at most 1,200 characters each: 2 MB, full within minutes
_WITHIN_S: Final = 600.0
_ADDED: Final = 240  # characters of a phrase, at most
_CORE: Final = 24  # characters that two prompts share, at least
_CHOSEN: Final = frozenset({"policy", "cache"})  # reasons for which the words decided


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
        self._asked: OrderedDict[tuple[str, str, str, str], _Asked] = OrderedDict()
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
        text = features.window.rpartition("\ue001")[2].strip()
        if len(text) < _CORE:
            return None
        one = _Asked(self._now(), text, decision.model, price)
        who = (decision.route, call.hints.tenant or "")
        found = None
        for end, key in (("head", text[:_CORE]), ("tail", text[-_CORE:])):
            place = (*who, end, key)
            before = self._asked.pop(place, None)
            self._asked[place] = one
            if before is not None and found is None and self._flipped(before, one, end):
                found = "up" if price > before.price else "down"
        oldest, asked = one.at - _WITHIN_S, self._asked
        while len(asked) > 2 * _KEEP or next(iter(asked.values())).at < oldest:
            asked.popitem(last=False)  # the oldest is first; the newest is never too old
        if found is not None:
            self._flips.add((decision.route, found))
        return found

    def _flipped(self, before: _Asked, one: _Asked, end: str) -> bool:
        if before.model == one.model or one.at - before.at > _WITHIN_S:
            return False
        short, long = sorted((before.text, one.text), key=len)
        if not 0 < len(long) - len(short) <= _ADDED:
            return False
        return long.startswith(short) if end == "head" else long.endswith(short)
