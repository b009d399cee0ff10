"""One upstream asked: what goes up, and the answer as far as it must be read to be trusted.

An attempt counts as begun once its first content is here; a small answer that is not
streamed is read whole, so that one that breaks off can still be asked for elsewhere.
"""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import unquote_plus

from sidecar import headers
from sidecar.clock import Deadlines
from sidecar.config.schema import Cascade
from sidecar.config.snapshot import ModelSpec, UpstreamSpec
from sidecar.dialects import DIALECTS, overrides
from sidecar.dialects.base import Dialect
from sidecar.dialects.body import edited
from sidecar.errors import UpstreamBroken, UpstreamTimeout
from sidecar.frozen import dataclass
from sidecar.headers import AnswerHead
from sidecar.sse import UsageStrip
from sidecar.tap import AnswerTap, BlindTap, StreamTap, Tap, UnpackingTap
from sidecar.types import Call, Edit, Failure
from sidecar.upstream.base import Take, UpstreamResponse, Upstreams
from sidecar.upstream.health import Health, Replica

# An unstreamed answer up to this size is whole before its first byte goes down,
# so that one that breaks off can still be asked of the next model.
_HOLD: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Step:
    """One address to ask, after a wait."""

    spec: UpstreamSpec
    model: ModelSpec
    reason: str  # that the answer will give
    wait_s: float
    rules: Cascade | None = None  # of the check that its answer must pass


@dataclass(frozen=True, slots=True)
class Attempt:
    """An upstream that has begun to answer, and what of the answer is here already."""

    spec: UpstreamSpec  # at the address that was asked
    model: ModelSpec
    reason: str  # the decision's, or fallback:N
    response: UpstreamResponse
    head: AnswerHead
    held: bytes
    ended: bool  # the body is whole and in ``held``
    streaming: bool
    tap: Tap
    strip: UsageStrip | None  # where the router asked for a count that the app did not
    failures: tuple[Failure, ...]  # attempts before this one
    _replica: Replica
    refusal: bool = False  # an upstream's own error, for nobody had an answer

    def close(self) -> None:
        """The answer is over, or nobody waits for it any more. To be called once."""
        Health.ended(self._replica)
        self.response.close()


async def ask(
    call: Call,
    step: Step,
    upstreams: Upstreams,
    deadlines: Deadlines,
    *,
    replica: Replica,
    failures: tuple[Failure, ...],
) -> Attempt:
    """One address asked, up to its first content; :class:`UpstreamError` if it has none."""
    upstream, model = step.spec, step.model
    dialect = DIALECTS[call.dialect]
    counting = call.usage_edit is not None and upstream.stream_usage
    body = _body(call, model, counting=counting)
    path = _path(dialect.path + call.below, call.query, upstream)
    lines = headers.up(call.passed, upstream, readable=counting or step.rules is not None)
    first_s, total_s = upstream.timeouts.first_content_s, upstream.timeouts.total_s
    began = 0.0 if total_s is None else time.monotonic()
    response: UpstreamResponse
    try:
        with deadlines.limit(first_s if total_s is None else min(first_s, total_s)):
            response = await upstreams.send(upstream, path, lines, body)
            if total_s is not None:
                response = _Limited(response, deadlines, total_s, began + total_s)
            try:
                head = headers.down(response.headers, response.alike)
                tap, streaming = _tap_for(response.status, head, dialect, call.choices)
                held, ended = await _hold(response, tap, streaming)
            except BaseException:
                response.close()
                raise
    except TimeoutError:
        raise UpstreamTimeout(f"{model.name} sent no content in time") from None
    strip = UsageStrip() if counting and streaming and isinstance(tap, StreamTap) else None
    return Attempt(
        upstream, model, step.reason, response, head, held, ended,
        streaming, tap, strip, failures, replica,
    )  # fmt: skip


class _Limited:
    """An answer that must be whole by some moment of the monotonic clock."""

    __slots__ = (
        "_deadlines", "_inner", "_total_s", "_until", "alike", "headers", "reason", "status",
    )  # fmt: skip

    def __init__(
        self, inner: UpstreamResponse, deadlines: Deadlines, total_s: float, until: float
    ) -> None:
        self._inner = inner
        self._deadlines = deadlines
        self._total_s = total_s
        self._until = until
        self.status, self.reason, self.headers = inner.status, inner.reason, inner.headers
        self.alike = inner.alike

    async def read(self) -> bytes:
        try:
            with self._deadlines.limit(self._until - time.monotonic()):
                return await self._inner.read()
        except TimeoutError:
            raise self._late() from None

    def rest(self) -> bytes | None:
        return self._inner.rest()

    async def pump(self, take: Take) -> None:
        try:
            with self._deadlines.limit(self._until - time.monotonic()):
                await self._inner.pump(take)
        except TimeoutError:
            raise self._late() from None

    def close(self) -> None:
        self._inner.close()

    def _late(self) -> UpstreamTimeout:
        return UpstreamTimeout(f"it was not whole after {self._total_s:g} s")


def _body(call: Call, model: ModelSpec, *, counting: bool) -> bytes:
    """The caller's bytes, but for the model's name, its overrides and, where needed, a count
    asked for."""
    name = model.quoted
    start, end = call.model_span
    asks = call.usage_edit if counting else None
    if asks is None and model.overrides is None:
        return call.body[:start] + name + call.body[end:]
    changes = [Edit(start, end, name)]
    if asks is not None:
        changes.append(asks)
    if model.overrides is not None:
        # what is asked beside an answer takes no parameters of one
        wanted = model.overrides.of_the_prompt() if call.below else model.overrides
        changes += overrides.edits(call.body, call.dialect, wanted)
    return edited(call.body, changes)


def _path(path: str, query: str, upstream: UpstreamSpec) -> str:
    """The path below the base URL, with the upstream's own query before the caller's."""
    if upstream.asked:
        own = {name for name, _ in upstream.query}
        kept = [
            pair
            for pair in query.split("&")
            if pair and unquote_plus(pair.partition("=")[0]) not in own
        ]
        return f"{path}?{'&'.join([upstream.asked, *kept])}"
    return f"{path}?{query}" if query else path


def _tap_for(status: int, head: AnswerHead, dialect: Dialect, choices: int) -> tuple[Tap, bool]:
    # a refusal is the caller's to read, in whatever shape it comes
    streaming = status < 300 and head.content_type.startswith("text/event-stream")
    tap = StreamTap(dialect, choices) if streaming else AnswerTap(dialect)
    if head.coding:
        return (UnpackingTap(tap) if head.coding in headers.UNPACKED else BlindTap()), streaming
    return tap, streaming


async def _hold(response: UpstreamResponse, tap: Tap, streaming: bool) -> tuple[bytes, bool]:
    """Read up to the first content of a stream, or the whole of a small answer."""
    whole = response.rest()
    if whole is not None:  # it came with its head, as most answers do
        tap.feed(whole)
        if response.status < 300:
            _check_whole(whole, tap)
        return whole, True
    held: list[bytes] = []
    size = 0
    while True:
        chunk = await response.read()
        if not chunk:
            body = b"".join(held)
            if response.status < 300:
                _check_whole(body, tap)
            return body, True
        held.append(chunk)
        size += len(chunk)
        tap.feed(chunk)
        if streaming:
            if tap.content:
                return b"".join(held), False
            if tap.error:
                raise UpstreamBroken("the stream began with an error")
        if size > _HOLD:
            return b"".join(held), False


def _check_whole(body: bytes, tap: Tap) -> None:
    """Refuse what ended well as far as HTTP goes, and yet is no answer."""
    if isinstance(tap, StreamTap) and not tap.content:
        raise UpstreamBroken("the stream ended before its first content")
    if isinstance(tap, AnswerTap):
        body = body.strip()
        if body[:1] != b"{" or body[-1:] != b"}":
            raise UpstreamBroken("the answer is not a JSON object")
