"""Where a request's milliseconds go, and when they are too many: one monotonic clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

_TICK_S: Final = 0.05  # how much later than its time a limit may be noticed
_now: Final[Callable[[], float]] = time.perf_counter
_monotonic: Final[Callable[[], float]] = time.monotonic


class Clock:
    """Laps of one request: each :meth:`lap` ends a stage that began at the last one."""

    __slots__ = ("_last", "laps", "start")

    def __init__(self) -> None:
        self.start = self._last = _now()
        self.laps: dict[str, float] = {}  # stage -> milliseconds, in order

    def restart(self) -> None:
        """Count from now: what came before was the caller's time."""
        self.start = self._last = _now()

    def lap(self, stage: str) -> None:
        now = _now()
        laps, spent = self.laps, (now - self._last) * 1e3
        laps[stage] = laps[stage] + spent if stage in laps else spent
        self._last = now

    def elapsed_ms(self) -> float:
        return (_now() - self.start) * 1e3


class Deadlines:
    """Every limited wait of a process, on one timer.

    ``asyncio.timeout`` sets a timer and takes it back for each wait; with a wait or two a
    request and one a chunk that is a good part of what relaying costs. Here a wait is an
    entry in a set, which is looked through every 50 ms while it is not empty.
    """

    def __init__(self) -> None:
        self._limits: set[Limit] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that all of its waits are in: to ask which it is takes a system call."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        return loop

    def limit(self, seconds: float) -> Limit:
        """``with deadlines.limit(s):`` raises TimeoutError in the task that waits too long."""
        return Limit(self, seconds)

    def add(self, limit: Limit) -> None:
        self._limits.add(limit)
        if self._timer is None:
            self._timer = self.loop.call_later(_TICK_S, self._tick)

    def discard(self, limit: Limit) -> None:
        self._limits.discard(limit)

    def _tick(self) -> None:
        self._timer = None
        now = _monotonic()
        for limit in tuple(self._limits):
            limit.check(now)
        if self._limits:
            self._timer = self.loop.call_later(_TICK_S, self._tick)


class Limit:
    """A limit on what the current task waits for within ``with``; see :class:`Deadlines`.

    Setting ``touched`` makes it count from anew, from the next look at it.
    """

    __slots__ = ("_asked", "_deadlines", "_due", "_late", "_seconds", "_task", "touched")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._late = False
        self.touched = False
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> Limit:
        task = self._task = asyncio.current_task(self._deadlines.loop)
        assert task is not None
        self._asked = task.cancelling()
        self._due = _monotonic() + self._seconds
        self._deadlines.add(self)
        return self

    def check(self, now: float) -> None:
        if self.touched:
            self.touched = False
            self._due = now + self._seconds
        elif now >= self._due and not self._late and self._task is not None:
            self._late = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        self._deadlines.discard(self)
        task, self._task = self._task, None
        # what asyncio.timeout does: a cancellation of someone else's goes before ours
        alone = self._late and task is not None and task.uncancel() <= self._asked
        if alone and kind is asyncio.CancelledError:
            raise TimeoutError from exc
