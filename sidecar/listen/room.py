"""Room for the bodies of requests: how many bytes of them are held at once.

A container's memory limit is the kernel's to enforce, by killing: the sidecar keeps
below it by telling a caller to come again. A body is held once as it came, and up to
twice more while it is read, edited and sent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

SMALL: Final = 1 << 16  # bytes; what is smaller is not worth the counting
_COPIES: Final = 3
_OWN: Final = 192 << 20  # bytes of the process itself, the encoder loaded, with some to spare
_LEAST: Final = 16 << 20
_NO_LIMIT: Final = 1 << 60  # what version 1 of cgroups says for none
_LIMIT_FILES: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


class Claim:
    """Bytes that are held for as long as this is: a request that ends, however it ends,
    lets go of it."""

    __slots__ = ("_room", "_size")

    def __init__(self, room: Room, size: int) -> None:
        self._room, self._size = room, size
        room.held += size

    def __del__(self) -> None:
        self._room.held -= self._size


class Room:
    """``held`` bytes of bodies."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0

    def claim(self, size: int, most: int | None) -> Claim | None:
        """Hold ``size`` bytes more, or None where that would be over ``most``.

        One body is always let in: what is larger than all the room there is has its
        own limit.
        """
        if most is not None and self.held and self.held + size > most:
            return None
        return Claim(self, size)


def most_by_memory(files: tuple[Path, ...] = _LIMIT_FILES) -> int | None:
    """Bytes of bodies that the container's memory limit leaves room for; None without one."""
    for file in files:
        try:
            limit = int(file.read_text())
        except (OSError, ValueError):  # not there, or "max"
            continue
        if limit < _NO_LIMIT:
            return max((limit - _OWN) // _COPIES, _LEAST)
    return None
