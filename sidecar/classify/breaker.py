"""When to stop asking a remote classifier, and how long until it is tried again.

Pure: no clock and no I/O. A breaker opens when too many of the last calls failed, or at
once when the server is known to be gone; what closes it is a probe that succeeds. Probes
start soon and back off, bounded so that a server that returns is used again within
seconds, and scattered so that many pods do not ask in step.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Final

WINDOW: Final = 20  # calls that are remembered
FIRST_S: Final = 0.25
LONGEST_S: Final = 1.0


class Breaker:
    """Counts outcomes. Opens at ``failures`` of the last :data:`WINDOW` calls."""

    def __init__(self, failures: int) -> None:
        self._failures = failures
        self._recent: deque[bool] = deque(maxlen=max(WINDOW, failures))
        self._opened = 0  # times in a row, without a good window between
        self.closed = False

    def record(self, ok: bool) -> bool:
        """Note the outcome of one call; True if it is the one that opens the breaker."""
        if not self.closed:
            return False
        self._recent.append(ok)
        if ok:
            if len(self._recent) == self._recent.maxlen and all(self._recent):
                self._opened = 0
            return False
        return self._recent.count(False) >= self._failures and self.open()

    def open(self) -> bool:
        """Ask no more; True if it was closed."""
        was, self.closed = self.closed, False
        self._opened += was
        return was

    def close(self) -> None:
        """The probe was good: ask again, with nothing held against it."""
        self.closed = True
        self._recent.clear()

    def wait_s(self, probes: int) -> float:
        """Until the next probe, after ``probes`` that failed since it opened.

        Doubles with the failed probes, and with each time that a server which passed its
        probe failed in use again; plus or minus a quarter.
        """
        steps = min(8, probes + max(0, self._opened - 1))
        scatter = random.uniform(0.75, 1.25)  # noqa: S311 - not a secret
        return min(LONGEST_S, FIRST_S * 2.0**steps) * scatter
