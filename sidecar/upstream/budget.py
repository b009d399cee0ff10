"""How much of the traffic may be asked again.

Retries help with a fault that passes and hurt with one that stays: when an upstream is
overloaded, they are what keeps it so. So each upstream's retries are bounded by a share
of its requests, beside a small allowance, as a token bucket (the retry budget of Finagle
and Envoy).
"""

from __future__ import annotations

from typing import Final

_AT_ONCE: Final = 10.0  # retries that may be saved up
_EACH_S: Final = 1.0  # a second, whatever the traffic


class RetryBudget:
    """One upstream's. Time comes from the caller, in seconds of any steady clock."""

    def __init__(self, now: float) -> None:
        self._tokens = _AT_ONCE
        self._at = now

    def asked(self, share: float) -> None:
        """A request was made, which earns ``share`` of a retry."""
        if self._tokens < _AT_ONCE:
            self._tokens = min(_AT_ONCE, self._tokens + share)

    def take(self, now: float) -> bool:
        """Spend a retry; False where there is none to spend."""
        self._tokens = min(_AT_ONCE, self._tokens + (now - self._at) * _EACH_S)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
