"""Where answers were given that later requests may name.

An answer of the Responses API has an id, and its upstream keeps the conversation under
it. What is kept here is where that was: model, upstream and address, and how many
tokens the conversation had by then. The caller's credentials and tenant are a part of
the key: an id that another caller was given is an unknown one.

Bounded, aging, and no text. A process's own, not shared between workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from sidecar.observe.metrics import Registry
from sidecar.state.lru import Lru
from sidecar.types import Call, Decision, Outcome, Place

_PINNED: Final = ("pinned",)
_UNPINNED: Final = ("unpinned",)


class Places:
    """The answers of one process. ``limit`` 0 remembers none."""

    def __init__(
        self,
        limit: int,
        ttl_s: float,
        *,
        registry: Registry | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kept: Lru[int, Place] = Lru(limit, ttl_s, now)
        self._continued = (registry or Registry()).counter(
            "router_continued_answers",
            "Requests that named an answer before them, by whether they went to where it is kept.",
            ("result",),
        )

    def __len__(self) -> int:
        return len(self._kept)

    def bound(self, limit: int, ttl_s: float) -> None:
        self._kept.bound(limit, ttl_s)

    def look(self, call: Call, *, used: bool = True) -> Place | None:
        """Where the answer is kept that ``call`` goes on with, if that is known."""
        if call.continues is None or not self._kept.limit:
            return None
        return self._kept.get(_key(call, call.continues), used=used)

    def remember(self, call: Call, decision: Decision, outcome: Outcome) -> None:
        """Where the answer to ``call`` was given, if it has an id."""
        if call.continues is not None:
            self._continued.add(_UNPINNED if decision.at is None else _PINNED)
        if not outcome.answer_id or not self._kept.limit:
            return
        usage, before = outcome.usage, decision.at.tokens if decision.at else 0
        asked = call.input_tokens + before if usage.input_tokens is None else usage.input_tokens
        told = call.max_output_tokens if usage.output_tokens is None else usage.output_tokens
        place = Place(outcome.model, outcome.upstream, outcome.base_url, asked + (told or 0))
        self._kept.put(_key(call, outcome.answer_id), place)


def _key(call: Call, answer_id: str) -> int:
    """What tells one caller's answer from all others, within this process."""
    return hash((answer_id, call.hints.tenant, call.passed.credentials))
