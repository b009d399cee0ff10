"""Tasks, descriptors and threads, counted before and after."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

GENEROUS = 20.0
_FDS = Path("/proc/self/fd")


def _is_socket(fd: Path) -> bool:
    try:
        return fd.readlink().name.startswith("socket:")
    except OSError:  # it was the listing's own
        return False


class Leaks:
    """What there was when it was made, to hold what is there later against."""

    def __init__(self, *, threads: bool = True, sockets: bool = False) -> None:
        """``threads``: count them too; ``sockets``: of the descriptors, count sockets alone."""
        self._threads = threads
        self._sockets = sockets
        self.before = self.count()

    def count(self) -> tuple[int, int, int]:
        fds = sum(map(_is_socket, _FDS.iterdir())) if self._sockets else len(list(_FDS.iterdir()))
        return len(asyncio.all_tasks()), fds, threading.active_count() if self._threads else 0

    async def none(self) -> None:
        """Wait until no more is there than before; fail where something stays."""
        try:
            async with asyncio.timeout(GENEROUS):
                while any(now > then for now, then in zip(self.count(), self.before, strict=True)):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"tasks, descriptors, threads: {self.before} before, {self.count()} now")
