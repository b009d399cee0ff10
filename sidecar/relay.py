"""The answer, byte for byte, from an upstream to the caller.

Every piece is sent as it comes, from the callback that brought it, and a tap reads a
copy of it. A stream that fails after content ends with an error event in the caller's
dialect; a body of a declared kind that fails ends with a cut connection. Neither ever
looks whole.
"""

from __future__ import annotations

from collections.abc import Awaitable

from sidecar import headers
from sidecar.attempts.attempt import Attempt
from sidecar.clock import Clock, Deadlines, Limit
from sidecar.dialects import DIALECTS
from sidecar.errors import UpstreamBroken, UpstreamError, UpstreamsFailed, UpstreamTimeout
from sidecar.listen.downstream import Downstream, HangUp
from sidecar.tap import StreamTap
from sidecar.types import Call, Decision, Outcome


class Relay:
    """One answer on its way down. :meth:`run` sends it; :meth:`outcome` says how it went.

    ``outcome`` may be asked at any time, also after ``run`` was cancelled: a
    caller who hangs up has still been charged for.
    """

    __slots__ = ("_answer", "_attempt", "_call", "_clock", "_ended", "_first_ms", "_limit")

    def __init__(self, call: Call, attempt: Attempt, answer: Downstream, clock: Clock) -> None:
        self._call = call
        self._attempt = attempt
        self._answer = answer
        self._clock = clock
        self._first_ms = clock.elapsed_ms()
        self._ended = "hang-up"  # until something else is known
        self._limit: Limit | None = None

    async def run(self, decision: Decision, deadlines: Deadlines) -> None:
        """Send the whole answer. Returns also when the caller is gone or the upstream fails."""
        attempt = self._attempt
        try:
            self._start(decision)
            if attempt.ended and not attempt.streaming:
                self._answer.finish(attempt.held)
            else:
                await self._copy(deadlines)
            refused = attempt.refusal or attempt.response.status >= 400
            self._ended = "refused" if refused else "complete"
        except HangUp:
            return
        except UpstreamError as exc:
            self._ended = "upstream-broken"
            self._break_off(exc)
        finally:
            attempt.close()

    def _start(self, decision: Decision) -> None:
        attempt, head = self._attempt, self._attempt.head
        lines = head.lines + headers.of_router(
            self._call, decision, attempt.model.name, attempt.reason, self._clock
        )
        length: bytes | int | None = head.length
        if attempt.streaming:
            lines += b"X-Accel-Buffering: no\r\n"
            length = None  # a declared one would leave no room for an error event
        elif attempt.ended:
            length = len(attempt.held)
        self._answer.start(attempt.response.status, attempt.response.reason, lines, length)

    async def _copy(self, deadlines: Deadlines) -> None:
        attempt = self._attempt
        if attempt.held and self._pass(attempt.held):
            await self._answer.drained()
        if not attempt.ended:
            try:
                idle_s = attempt.spec.timeouts.idle_s
                with deadlines.limit(idle_s) as self._limit:
                    await attempt.response.pump(self._take)
            except TimeoutError:
                raise UpstreamTimeout(f"nothing came for {idle_s:g} s") from None
        rest = attempt.strip.rest() if attempt.strip is not None else b""
        if rest:
            self._answer.write(rest)
        self._check_whole()
        self._answer.finish()

    def _take(self, piece: bytes) -> Awaitable[None] | None:
        """What the upstream sent just now: on to the caller, and a copy to the tap."""
        if self._limit is not None:
            self._limit.touched = True
        tap, strip, answer = self._attempt.tap, self._attempt.strip, self._answer
        tap.feed(piece)
        # the tap has looked: nearly no piece holds the count that would be taken out
        if strip is not None and not (isinstance(tap, StreamTap) and tap.plain and strip.idle):
            piece = strip.feed(piece)
        return answer.drained() if answer.write(piece) else None

    def _pass(self, piece: bytes) -> bool:
        """Send ``piece``; whether the caller should read some of it before the next."""
        strip = self._attempt.strip
        return self._answer.write(piece if strip is None else strip.feed(piece))

    def _check_whole(self) -> None:
        attempt = self._attempt
        if attempt.streaming and not attempt.tap.whole and attempt.response.status < 300:
            raise UpstreamBroken("the stream ended without its end")

    def _break_off(self, fault: UpstreamError) -> None:
        """End what will not be whole, so that nobody takes it for whole."""
        attempt, answer = self._attempt, self._answer
        if not isinstance(attempt.tap, StreamTap):
            answer.abort()  # plain text in a compressed stream would be no event
            return
        event = b""
        if not attempt.tap.error:  # else an error in band has been passed on already
            said = UpstreamsFailed(
                f"The model's answer broke off: {fault}.", status=fault.status, code=fault.code
            )
            dialect, last = DIALECTS[self._call.dialect], attempt.tap.last()
            event = dialect.error_event(said, self._call.request_id, last)
            event = b"\n\n" + event  # the blank line ends whatever half event came before
        try:
            answer.finish(event)
        except HangUp:
            self._ended = "hang-up"

    def told(self) -> list[bytes]:
        """What of the answer says which model gave it and why it ended, for who traces it."""
        return self._attempt.tap.told()

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
            answer_id=attempt.tap.answer_id(),
            upstream=attempt.spec.name,
            base_url=attempt.spec.base_url,
        )
