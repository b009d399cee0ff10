"""Which replica to ask: the least loaded of those that have not been failing.

Each replica has a breaker. A few failures in a row open it, and for a while the
replica is not asked; then one request is let through as a probe, and its fate
closes the breaker or opens it for twice as long. An upstream that says
``Retry-After`` is left alone for as long as it asked, within reason. Time comes
from the caller, so that all of this is tested without waiting.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from sidecar.config.snapshot import UpstreamSpec

_FAILURES: Final = 5  # in a row, to open
_FIRST_REST_S: Final = 1.0
_LONGEST_REST_S: Final = 30.0
_LONGEST_ASKED_S: Final = 60.0  # of a Retry-After
_SECONDS: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?")


@dataclass(slots=True)
class Replica:
    """What is known of one address of an upstream."""

    in_flight: int = 0
    failures: int = 0  # in a row
    rest_s: float = 0.0  # how long the breaker was last opened for
    rests_until: float = 0.0
    probing: bool = False

    def may_be_asked(self, now: float) -> bool:
        return now >= self.rests_until and not self.probing


class Health:
    """The replicas of every upstream that was ever asked, by name and address."""

    def __init__(self) -> None:
        self._replicas: dict[tuple[str, str], Replica] = {}

    def of(self, spec: UpstreamSpec) -> Replica:
        key = (spec.name, spec.base_url)
        replica = self._replicas.get(key)
        if replica is None:
            replica = self._replicas[key] = Replica()
        return replica

    def pick(
        self, specs: Sequence[UpstreamSpec], tried: Collection[str], now: float
    ) -> UpstreamSpec | None:
        """The least loaded replica that may be asked and was not ``tried``; None if none may."""
        if len(specs) == 1:
            spec = specs[0]
            return None if spec.base_url in tried or not self.of(spec).may_be_asked(now) else spec
        able = [s for s in specs if s.base_url not in tried and self.of(s).may_be_asked(now)]
        # of equals, the one with fewer failures behind it
        return min(able, key=lambda s: (self.of(s).in_flight, self.of(s).failures), default=None)

    def begin(self, spec: UpstreamSpec) -> Replica:
        """A request goes to ``spec``; its end must be told with :meth:`ended`."""
        replica = self.of(spec)
        replica.in_flight += 1
        replica.probing = replica.rest_s > 0
        return replica

    @staticmethod
    def answered(replica: Replica) -> None:
        """It began to answer: whatever it did before is forgiven."""
        replica.failures = 0
        replica.rest_s = 0.0
        replica.probing = False

    @staticmethod
    def failed(replica: Replica, now: float, retry_after_s: float | None = None) -> None:
        """It did not answer, or with an error of its own."""
        replica.failures += 1
        replica.probing = False
        is_open = replica.rest_s > 0 and now < replica.rests_until
        # those that were under way when it opened say nothing new of it
        if not is_open and (replica.failures >= _FAILURES or replica.rest_s):
            replica.rest_s = min(_LONGEST_REST_S, replica.rest_s * 2 or _FIRST_REST_S)
            replica.rests_until = now + replica.rest_s
        if retry_after_s:
            asked = min(retry_after_s, _LONGEST_ASKED_S)
            replica.rests_until = max(replica.rests_until, now + asked)

    @staticmethod
    def ended(replica: Replica) -> None:
        """The answer is over, or nobody waits for it any more."""
        replica.in_flight -= 1
        replica.probing = False


def retry_after(value: str | None, now: float) -> float | None:
    """A ``Retry-After`` in seconds from ``now``, Unix time; None where it cannot be read.

    Both forms of RFC 9110, section 10.2.3; a date that is past is no wait. Some upstreams
    write a fraction. Never raises: it is the word of another machine.
    """
    said = "" if value is None else value.strip()
    if _SECONDS.fullmatch(said):
        return float(said)
    try:
        date = parsedate_to_datetime(said)
        until = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0.0, until - now)
