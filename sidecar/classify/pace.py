"""How long the encoder takes, learned from what it took.

What is asked of it is one question: would this be read in time? So the estimate is a
line through a fixed cost and a cost a token, of which the second is learned as a moving
average: machines differ by an order of magnitude, and a busy neighbour changes one.
"""

from __future__ import annotations

from typing import Final

_FIXED: Final = 24  # tokens whose time a run costs beside its own: measured, 0.4 of 2.6 ms
_WEIGHT: Final = 0.1  # of the newest run
_JUMP: Final = 4.0  # a stalled machine says nothing about the encoder beyond this


class Pace:
    """Seconds a run of so many padded tokens takes. Written by one thread, read by any."""

    def __init__(self) -> None:
        self._per_token = 0.0  # nothing is known: whatever is asked is tried

    def seconds(self, tokens: int) -> float:
        """The estimate for a run of ``tokens``, padding counted; 0 before the first one."""
        return (tokens + _FIXED) * self._per_token

    def observe(self, tokens: int, seconds: float) -> None:
        """A run of ``tokens`` took ``seconds``."""
        seen = seconds / (tokens + _FIXED)
        known = self._per_token
        if not known:
            self._per_token = seen
            return
        self._per_token = known + _WEIGHT * (min(seen, _JUMP * known) - known)
