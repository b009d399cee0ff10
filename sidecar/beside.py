"""What was worked out of something that comes again, kept beside it."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_MOST: Final = 256


class Alike:
    """What answers have in common whose heads differ in the length of their bodies alone.

    Whoever makes something of such a head leaves it in ``made``, for the next one with it.
    """

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made: object | None = None


class Beside(Generic[K, V]):
    """Values by the identity of what they were made of, which is held; nothing is compared.

    For what a cache keeps ready and gives out again and again. When there are 256 of them all
    are let go, so that none outlives the cache by much.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[int, tuple[K, V]] = {}

    def find(self, one: K) -> V | None:
        """What was kept beside this very ``one``, or None."""
        found = self._kept.get(id(one))
        return found[1] if found is not None and found[0] is one else None

    def keep(self, one: K, made: V) -> None:
        if len(self._kept) >= _MOST:
            self._kept.clear()
        self._kept[id(one)] = one, made
