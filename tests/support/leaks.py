"""Tasks, descriptors and threads, counted before and after."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

GENEROUS = 20.0


class Leaks:
    """What there was when it was made, to hold what is there later against."""

    def __init__(self, *, threads: bool = True, descriptors: bool = True) -> None:
        self._threads = threads
        self._descriptors = descriptors
        self.before = self.count()

    def count(self) -> tuple[int, int, int]:
        fds = len(os.listdir("/proc/self/fd")) if self._descriptors else 0  # noqa: PTH208
        return len(asyncio.all_tasks()), fds, threading.active_count() if self._threads else 0

    async def none(self) -> None:
        """Wait until no more is there than before; fail where something stays."""
        try:
            async with asyncio.timeout(GENEROUS):
                while any(now > then for now, then in zip(self.count(), self.before, strict=True)):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            left = "; ".join(str(task.get_coro()) for task in asyncio.all_tasks())
            before, now = self.before, self.count()
            pytest.fail(f"tasks, descriptors, threads: {before} before, {now} now: {left}")


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Fail where a task or a descriptor is left that was not there. Threads of a pool may stay."""
    # a loop opens some descriptors of its own when it is first woken, and when it first listens
    await asyncio.to_thread(int)
    (await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)).close()
    await asyncio.sleep(0)
    leaks = Leaks(threads=False)
    yield
    await leaks.none()
