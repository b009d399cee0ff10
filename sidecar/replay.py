"""A kept answer on its way down: what :mod:`sidecar.relay` is for a fresh one."""

from __future__ import annotations

from typing import Final

from sidecar import headers
from sidecar.clock import Clock
from sidecar.listen.downstream import Downstream, HangUp
from sidecar.state.response_cache import Kept
from sidecar.types import Call, Decision, Outcome, Step, Usage

_NOTHING: Final = Usage(0, 0, 0, 0, 0)


def decided(call: Call, kept: Kept, age_s: float) -> Decision:
    """The decision that the answer is there already."""
    step = Step("response-cache", f"{kept.model} gave this answer {age_s:.0f} s ago")
    return Decision(kept.model, call.model, "cache", steps=(step,))


def replay(
    call: Call, decision: Decision, kept: Kept, age_s: float, *, answer: Downstream, clock: Clock
) -> Outcome:
    """Send a kept answer. Nobody was asked: it took no tokens and cost nothing."""
    lines = kept.lines + b"Age: %d\r\n" % age_s
    lines += headers.of_router(call, decision, kept.model, "cache", clock)
    if kept.streaming:
        lines += b"X-Accel-Buffering: no\r\n"
    ended = "complete"
    try:
        answer.start(200, "", lines, None if kept.streaming else len(kept.body))
        answer.finish(kept.body)
    except HangUp:
        ended = "hang-up"
    ms = clock.elapsed_ms()
    return Outcome(
        model=kept.model,
        reason="cache",
        status=200,
        attempts=0,
        bytes_sent=answer.bytes_sent,
        usage=_NOTHING,
        ended=ended,
        first_byte_ms=ms,
        total_ms=ms,
    )
