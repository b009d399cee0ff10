"""A map that stays small: least recently used out first, and nothing kept too long.

Every memory of the process is one of these, so that none grows with the traffic.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """At most ``limit`` values, each for at most ``ttl_s`` seconds from when it was put.

    What is used moves to the end, and what is put out stands at the beginning: of an
    ``OrderedDict``, for a plain dict walks over all it has put out to find its first.
    Not for several threads.
    """

    __slots__ = ("_kept", "_now", "evicted", "limit", "ttl_s")

    def __init__(self, limit: int, ttl_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.ttl_s = ttl_s
        self.evicted = 0
        self._now = now
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K, *, used: bool = True) -> V | None:
        """The value, which is then the last to be put out if it is ``used``; None if there
        is none."""
        found = self.with_age(key, used=used)
        return None if found is None else found[0]

    def with_age(self, key: K, *, used: bool = True) -> tuple[V, float] | None:
        """As :meth:`get`, with the seconds since it was put."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        age = self._now() - kept[0]
        if age > self.ttl_s:
            del self._kept[key]
            return None
        if used:
            self._kept.move_to_end(key)
        return kept[1], age

    def put(self, key: K, value: V) -> None:
        self._kept[key] = (self._now(), value)
        self._kept.move_to_end(key)
        self._shrink()

    def drop(self, key: K) -> None:
        self._kept.pop(key, None)

    def bound(self, limit: int, ttl_s: float) -> None:
        """Change the bounds; what is beyond the new ones goes."""
        self.limit, self.ttl_s = limit, ttl_s
        self._shrink()

    def clear(self) -> None:
        self._kept.clear()

    def _shrink(self) -> None:
        while len(self._kept) > self.limit:
            self._kept.popitem(last=False)
            self.evicted += 1
