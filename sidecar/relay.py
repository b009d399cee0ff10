"""The answer, byte for byte, from an upstream to the caller.

Every chunk is sent as it comes and a tap reads a copy of it. A stream that
fails after content ends with an error event in the caller's dialect; a body of
a declared kind that fails ends with a cut connection. Neither ever looks whole.
"""

from __future__ import annotations

import asyncio

from multidict import CIMultiDict

from sidecar import headers
from sidecar.clock import Clock
from sidecar.dialects import DIALECTS
from sidecar.dispatch import Attempt
from sidecar.downstream import Downstream, HangUp
from sidecar.errors import UpstreamBroken, UpstreamError, UpstreamsFailed, UpstreamTimeout
from sidecar.tap import BlindTap
from sidecar.types import Call, Decision, Outcome


class Relay:
    """One answer on its way down. :meth:`run` sends it; :meth:`outcome` says how it went.

    ``outcome`` may be asked at any time, also after ``run`` was cancelled: a
    caller who hangs up has still been charged for.
    """

    def __init__(self, call: Call, attempt: Attempt, answer: Downstream, clock: Clock) -> None:
        self._call = call
        self._attempt = attempt
        self._answer = answer
        self._clock = clock
        self._first_ms = clock.elapsed_ms()
        self._ended = "hang-up"  # until something else is known

    async def run(self, decision: Decision) -> None:
        """Send the whole answer. Returns also when the caller is gone or the upstream fails."""
        attempt = self._attempt
        try:
            await self._answer.start(
                attempt.response.status, attempt.response.reason, self._head(decision)
            )
            await self._copy()
            await self._answer.finish()
            self._ended = "complete" if attempt.response.status < 400 else "refused"
        except HangUp:
            return
        except UpstreamError as exc:
            self._ended = "upstream-broken"
            await self._break_off(exc)
        finally:
            attempt.response.close()

    async def _copy(self) -> None:
        attempt, tap = self._attempt, self._attempt.tap
        if attempt.held:
            await self._pass(b"".join(attempt.held))
        if not attempt.ended:
            idle = attempt.model.upstream.timeouts.idle_s
            while chunk := await self._next(idle):
                tap.feed(chunk)
                await self._pass(chunk)
        if attempt.strip is not None and (rest := attempt.strip.rest()):
            await self._answer.write(rest)
        if attempt.streaming and not tap.whole and attempt.response.status < 300:
            raise UpstreamBroken("the stream ended without its end")

    async def _pass(self, chunk: bytes) -> None:
        strip = self._attempt.strip
        if strip is not None:
            chunk = strip.feed(chunk)
        if chunk:
            await self._answer.write(chunk)

    async def _next(self, idle_s: float) -> bytes:
        try:
            async with asyncio.timeout(idle_s):
                return await self._attempt.response.read()
        except TimeoutError:
            raise UpstreamTimeout(f"nothing came for {idle_s:g} s") from None

    async def _break_off(self, fault: UpstreamError) -> None:
        if isinstance(self._attempt.tap, BlindTap):
            self._answer.abort()  # plain text in a compressed stream would be no event
            return
        if not self._attempt.streaming or self._attempt.tap.error:
            # an error in band has been passed on already: the stream may just end
            if self._attempt.streaming:
                await self._quietly_finish()
            else:
                self._answer.abort()
            return
        said = UpstreamsFailed(
            f"The model's answer broke off: {fault}.", status=fault.status, code=fault.code
        )
        event = DIALECTS[self._call.dialect].error_event(said, self._call.request_id)
        try:
            # the blank line ends whatever half event came before
            await self._answer.write(b"\n\n" + event)
        except HangUp:
            return
        await self._quietly_finish()

    async def _quietly_finish(self) -> None:
        try:
            await self._answer.finish()
        except HangUp:
            self._ended = "hang-up"

    def _head(self, decision: Decision) -> CIMultiDict[str]:
        attempt, clock = self._attempt, self._clock
        head = headers.down(attempt.response.headers)
        headers.add_router(head, self._call, decision, clock)
        head["x-router-model"] = attempt.model.name
        head["x-router-reason"] = attempt.reason
        if attempt.streaming:
            head["X-Accel-Buffering"] = "no"
            # a declared length would leave no room for an error event
            head.popall("Content-Length", None)
        return head

    def outcome(self) -> Outcome:
        """How it went, as far as it went."""
        attempt = self._attempt
        return Outcome(
            model=attempt.model.name,
            reason=attempt.reason,
            status=attempt.response.status,
            attempts=len(attempt.failures) + 1,
            bytes_sent=self._answer.bytes_sent,
            usage=attempt.tap.usage(),
            ended=self._ended,
            first_byte_ms=self._first_ms,
            total_ms=self._clock.elapsed_ms(),
            failures=attempt.failures,
        )
