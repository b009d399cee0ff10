"""Where a request's milliseconds go, from one monotonic clock."""

from __future__ import annotations

import time


class Clock:
    """Laps of one request: each :meth:`lap` ends a stage that began at the last one."""

    __slots__ = ("_last", "laps", "start")

    def __init__(self) -> None:
        self.start = self._last = time.perf_counter()
        self.laps: dict[str, float] = {}  # stage -> milliseconds, in order

    def restart(self) -> None:
        """Count from now: what came before was the caller's time."""
        self.start = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = self.laps.get(stage, 0.0) + (now - self._last) * 1e3
        self._last = now

    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self.start) * 1e3

    def server_timing(self) -> str:
        """The laps so far, as a ``Server-Timing`` header's value (W3C Server Timing)."""
        return ", ".join(f"{stage};dur={ms:.2f}" for stage, ms in self.laps.items())
