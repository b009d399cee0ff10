"""Whole answers, given again to the same request: exact only, and only where asked for.

A route opts in with ``response_cache``. What is kept is the answer's bytes as they went
to the caller, a stream's too, under a digest of everything that could have made it
another: the body to its last byte, the path and query, the headers that go up, the
caller's credentials and tenant, the caller's wishes, the arm of an experiment, and the
configuration's own digest. Two requests that differ in any of these never meet, so no
answer crosses callers (``shared`` lets it), and a reload begins with nothing.

Not kept: an answer that is not a 200, not whole, given by a fallback after a failure, or
compressed and streamed; a request that may be answered otherwise each time (sampled:
``temperature`` is not 0) or that acts (tools), unless the route says so; one that
continues or leaves something at the upstream. Bounded in bytes a route, and aging.
A process's own, not shared between workers.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import field
from hashlib import blake2b
from typing import Final

from sidecar.attempts.attempt import Attempt
from sidecar.config.schema import ResponseCache as Settings
from sidecar.config.snapshot import RouteSpec, Snapshot
from sidecar.decide.experiment import arm_of
from sidecar.frozen import dataclass
from sidecar.listen.downstream import Copy
from sidecar.state.meter import Meter
from sidecar.tap import BlindTap
from sidecar.types import Call, Outcome

# Headers that go up and change no answer: they tell who asks, how often, and from where.
_ASIDE: Final = frozenset(
    {
        "user-agent", "content-type", "accept", "traceparent", "tracestate", "baggage",
        "x-request-id", "x-real-ip", "forwarded", "via", "cache-control", "pragma", "origin",
        "referer", "accept-language", "priority", "b3",
    }
)  # fmt: skip
_ASIDE_PREFIXES: Final = ("x-stainless-", "x-forwarded-", "x-b3-", "sec-")
_OVERHEAD: Final = 512  # bytes of an entry beside its body
_OF_THE_BODY: Final = (b"content-type:", b"content-encoding:")


@dataclass(frozen=True, slots=True)
class Kept:
    """One answer."""

    model: str
    lines: bytes  # of its head, those that say what the body is
    body: bytes = field(repr=False)
    streaming: bool
    since: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where one request's answer belongs, and the answer if it is there."""

    route: str
    key: bytes
    settings: Settings
    kept: Kept | None = None
    age_s: float = 0.0

    def copy(self) -> Copy:
        """What takes an answer down: at most an eighth of the room there is."""
        return Copy(int(self.settings.max_mb * 2**20) // 8)


class _Shelf:
    """The answers of one route."""

    def __init__(self) -> None:
        self.kept: OrderedDict[bytes, Kept] = OrderedDict()
        self.size = 0

    def take(self, key: bytes) -> Kept | None:
        kept = self.kept.pop(key, None)
        if kept is not None:
            self.size -= len(kept.body) + _OVERHEAD
        return kept

    def put(self, key: bytes, kept: Kept, most: float) -> None:
        self.take(key)
        self.kept[key] = kept
        self.size += len(kept.body) + _OVERHEAD
        while self.size > most:
            self.take(next(iter(self.kept)))


class ResponseCache:
    """The answers of one process, by route."""

    def __init__(self, meter: Meter, now: Callable[[], float] = time.monotonic) -> None:
        self._meter = meter
        self._now = now
        self._shelves: dict[str, _Shelf] = {}
        meter.registry.gauge(
            "router_response_cache_bytes",
            "Bytes of the answers kept, by route.",
            ("route",),
            read=lambda: {(name,): float(each.size) for name, each in self._shelves.items()},
        )

    def look(self, call: Call, snapshot: Snapshot, pinned: str | None) -> Place | None:
        """Where the answer to ``call`` is kept, or may be; None where none may."""
        route = snapshot.routes.get(call.model)
        settings = route.response_cache if route is not None else None
        if route is None or settings is None or not admits(call, settings):
            return None
        key = key_of(call, route, settings, snapshot.digest)
        shelf = self._shelves.setdefault(route.name, _Shelf())
        kept = shelf.take(key)
        age = self._now() - kept.since if kept is not None else 0.0
        if kept is None or age > settings.ttl_s:
            self._meter.miss("response")
            return Place(route.name, key, settings)
        shelf.put(key, kept, settings.max_mb * 2**20)  # the last to make room now
        if pinned is not None and kept.model != pinned:
            self._meter.miss("response")
            return Place(route.name, key, settings)
        self._meter.hit("response", "exact", age)
        return Place(route.name, key, settings, kept, age)

    def keep(self, place: Place, copy: Copy, attempt: Attempt, how: Outcome) -> None:
        """Keep the answer that ``copy`` took down, if it is one that may be given again."""
        if how.status != 200 or how.ended != "complete" or how.failures:
            return
        if copy.data is None or (attempt.streaming and isinstance(attempt.tap, BlindTap)):
            return
        lines = b"".join(
            line + b"\r\n"
            for line in attempt.head.lines.split(b"\r\n")
            if line.lower().startswith(_OF_THE_BODY)
        )
        kept = Kept(how.model, lines, bytes(copy.data), attempt.streaming, self._now())
        shelf = self._shelves.setdefault(place.route, _Shelf())
        shelf.put(place.key, kept, place.settings.max_mb * 2**20)

    def clear(self) -> None:
        """Forget all: the configuration that they were given under is gone."""
        self._shelves.clear()


def admits(call: Call, settings: Settings) -> bool:
    """Whether the answer to ``call`` may be given to the same request again."""
    if call.stateful:
        return False
    if not settings.tools and (call.prompt.tools or "tools" in call.needs):
        return False
    return settings.sampled or call.temperature == 0 or call.dialect == "embeddings"


def key_of(call: Call, route: RouteSpec, settings: Settings, digest: str) -> bytes:
    """A digest of all that an answer depends on; ``digest`` is the configuration's."""
    hints = call.hints
    whose = () if settings.shared else (call.passed.credentials, hints.tenant)
    said = sorted(
        pair
        for pair in call.passed.pairs()
        if pair[0] not in _ASIDE and not pair[0].startswith(_ASIDE_PREFIXES)
    )
    rest = (
        digest, route.name, call.dialect, call.query, whose, said,
        hints.quality, hints.max_cost_usd, arm_of(route, call),
    )  # fmt: skip
    whole = blake2b(repr(rest).encode("utf-8", "surrogateescape"), digest_size=32)
    whole.update(call.body)
    return whole.digest()
