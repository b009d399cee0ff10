"""Tasks, descriptors and threads, counted before and after."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

import pytest

GENEROUS = 20.0
_FDS = Path("/proc/self/fd")


def _tcp_sockets() -> int:
    inodes = {
        line.split()[9]
        for table in ("tcp", "tcp6")
        for line in Path("/proc/self/net", table).read_text().splitlines()[1:]
    }
    found = 0
    for fd in _FDS.iterdir():
        with contextlib.suppress(OSError):  # the listing's own
            found += fd.readlink().name[len("socket:[") : -1] in inodes
    return found


class Leaks:
    """What there was when it was made, to hold what is there later against."""

    def __init__(self, *, threads: bool = True, tcp: bool = False) -> None:
        """``threads``: count them too; ``tcp``: of the descriptors, count TCP sockets alone."""
        self._threads = threads
        self._tcp = tcp
        self.before = self.count()

    def count(self) -> tuple[int, int, int]:
        fds = _tcp_sockets() if self._tcp else len(list(_FDS.iterdir()))
        return len(asyncio.all_tasks()), fds, threading.active_count() if self._threads else 0

    async def none(self) -> None:
        """Wait until no more is there than before; fail where something stays."""
        try:
            async with asyncio.timeout(GENEROUS):
                while any(now > then for now, then in zip(self.count(), self.before, strict=True)):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"tasks, descriptors, threads: {self.before} before, {self.count()} now")
