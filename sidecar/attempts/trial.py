"""The attempts of one request: each asked and judged, and what is left of those that failed.

An answer is good where it began with a status that is the caller's to read; where a
cascade's rules come with the step, once it is whole and has passed their check. Of what
failed, the latest refusal is kept, for when nobody answers, and why each did.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import replace
from typing import Final

from sidecar.attempts.attempt import Attempt, Step, ask
from sidecar.clock import Deadlines
from sidecar.config.schema import Cascade
from sidecar.config.snapshot import UpstreamSpec
from sidecar.decide.answer_check import fault
from sidecar.dialects.answers import said
from sidecar.errors import UpstreamBroken, UpstreamError, UpstreamsFailed
from sidecar.tap import BlindTap
from sidecar.types import Call, Failure, Usage
from sidecar.upstream.base import Upstreams
from sidecar.upstream.health import Health, Replica, retry_after

log = logging.getLogger("sidecar.upstream")

_RETRIED: Final = frozenset({408, 429})  # and 500 up
# A whole answer that is an error, whatever its status says: some gateways have sent their
# 200 before they know. Of either API, by its first key, which in an answer is another.
_ERROR: Final = re.compile(rb'\s*\{\s*("error"\s*:\s*[{"]|"type"\s*:\s*"error")')


class Trial:
    """One request's. Whoever ends it without an answer calls :meth:`drop`."""

    __slots__ = (
        "_call", "_deadlines", "_fault", "_health", "_refusal", "_refused_at", "_rejected",
        "_upstreams", "failures", "unfit",
    )  # fmt: skip

    def __init__(
        self,
        call: Call,
        upstreams: Upstreams,
        health: Health,
        deadlines: Deadlines,
        failures: list[Failure] | None = None,
    ) -> None:
        self._call = call
        self._upstreams = upstreams
        self._health = health
        self._deadlines = deadlines
        self._refusal: Attempt | None = None  # an upstream's own error, the latest
        self._refused_at = 0  # which of the failures it is
        self._fault: UpstreamError | None = None
        self._rejected: Attempt | None = None  # an answer that its check did not pass
        self.failures: list[Failure] = [] if failures is None else failures
        self.unfit: set[str] = set()  # models whose answer did not pass its check

    async def of(self, step: Step) -> Attempt | None:
        """Ask as ``step`` says, and check the answer where it is to be checked."""
        attempt = await self.at(step)
        if attempt is None or step.rules is None:
            return attempt
        checked = await self.checked(attempt, step.rules)
        if checked is None:
            self.unfit.add(step.model.name)
        return checked

    def overtaken(self, step: Step, attempt: Attempt | None = None) -> None:
        """Note a request that another was quicker than: its upstream may charge for it.

        ``attempt`` is its answer where it has begun; it is let go, and what it says that it
        cost is kept if it is whole.
        """
        usage: Usage | None = None
        if attempt is not None:
            counted = attempt.tap.usage()
            usage = None if counted.output_tokens is None else counted
            attempt.close()
        self.failures.append(
            Failure(step.model.name, "overtaken by a hedge", usage, overtaken=True)
        )

    async def at(self, step: Step) -> Attempt | None:
        """Ask as ``step`` says; None where nothing began to answer."""
        spec, model = step.spec, step.model
        health = self._health
        replica = health.begin(spec)
        try:
            attempt = await ask(
                self._call,
                step,
                self._upstreams,
                self._deadlines,
                replica=replica,
                failures=tuple(self.failures),
            )
        except UpstreamError as exc:
            health.ended(replica)
            self._note_failure(spec, replica, str(exc))
            self._fault = exc
            self.failures.append(Failure(model.name, str(exc)))
            return None
        except BaseException:
            health.ended(replica)
            raise
        status = attempt.response.status
        failed = attempt.ended and status < 300 and _ERROR.match(attempt.held) is not None
        if status < 500 and status not in _RETRIED and not failed:
            if replica.rest_s:
                log.info("%s at %s answers again", spec.name, spec.base_url)
            health.answered(replica)
            self.drop_refusal()
            return attempt
        wait_s = retry_after(attempt.head.retry_after, time.time())
        why = f"an error with status {status}" if failed else f"status {status}"
        self._note_failure(spec, replica, why, wait_s)
        self.drop_refusal()
        self._refusal, self._refused_at = attempt, len(self.failures)
        self.failures.append(Failure(model.name, why))
        return None

    def _note_failure(
        self, spec: UpstreamSpec, replica: Replica, why: str, wait_s: float | None = None
    ) -> None:
        """Count it for the breaker; what opens one is said once, until it answers again."""
        rested = replica.rest_s
        self._health.failed(replica, time.monotonic(), wait_s)
        if replica.rest_s and not rested:
            log.warning("%s at %s keeps failing, the last: %s", spec.name, spec.base_url, why)

    async def checked(self, attempt: Attempt, rules: Cascade) -> Attempt | None:
        """The answer, held until it is whole and has passed its check; None if it did not.

        One that is longer or slower than may be held, or cannot be read, passes.
        """
        if attempt.response.status >= 300 or isinstance(attempt.tap, BlindTap):
            return attempt
        held, ended = [attempt.held], attempt.ended
        size, until = sum(map(len, held)), time.monotonic() + rules.hold_s
        try:
            while not ended and size <= rules.hold_kb << 10 and time.monotonic() < until:
                with self._deadlines.limit(attempt.spec.timeouts.idle_s):
                    piece = await attempt.response.read()
                attempt.tap.feed(piece)
                held.append(piece)
                size += len(piece)
                ended = not piece
        except (UpstreamError, TimeoutError) as exc:
            attempt.close()
            why = str(exc) or "the stream stalled"
            self.failures.append(Failure(attempt.model.name, why, attempt.tap.usage()))
            self._fault = UpstreamBroken(why)
            return None
        except BaseException:
            attempt.close()
            raise
        attempt = replace(attempt, held=b"".join(held), ended=ended)
        if not ended:
            return attempt
        if attempt.streaming and (attempt.tap.error or not attempt.tap.whole):
            attempt.close()
            self._fault = UpstreamBroken("the stream ended without its end")
            self.failures.append(Failure(attempt.model.name, str(self._fault), attempt.tap.usage()))
            return None
        answer = said(self._call.dialect, attempt.held, streaming=attempt.streaming)
        lack = fault(answer, self._call, rules)
        if lack is None:
            return attempt
        self.drop_rejected()
        self._rejected = attempt
        self.failures.append(Failure(attempt.model.name, lack, attempt.tap.usage()))
        return None

    def drop(self) -> None:
        """Let go of all that is kept of what failed."""
        self.drop_refusal()
        self.drop_rejected()

    def drop_rejected(self) -> None:
        if self._rejected is not None:
            self._rejected.close()
            self._rejected = None

    def drop_refusal(self) -> None:
        if self._refusal is not None:
            self._refusal.close()
            self._refusal = None

    def refused(self) -> Attempt:
        """What to tell the caller where no candidate answered."""
        if self._rejected is not None:  # better than nothing: it was charged for
            self.drop_refusal()
            own, rejected = self._rejected.model.name, self._rejected
            # it is the answer now, and its cost is the answer's
            others = [f for f in self.failures if f.usage is None or f.model != own]
            return replace(rejected, failures=tuple(others))
        if self._refusal is not None:
            at = self._refused_at
            beside = (*self.failures[:at], *self.failures[at + 1 :])  # those after it too
            return replace(self._refusal, failures=beside, refusal=True)
        fault = self._fault
        assert fault is not None  # at least one candidate was asked
        raise UpstreamsFailed(
            f"No upstream could answer; the last said: {fault}. Try again.",
            status=fault.status,
            code=fault.code,
        ) from fault
