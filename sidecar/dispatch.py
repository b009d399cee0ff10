"""Ordered attempts: from a decision to an upstream that has begun to answer.

The candidates were ordered by the decision and all of them can serve the call.
An attempt counts as begun once its first content is here, and until then the
caller has been sent nothing: so a refused connection, a 429, a 5xx, a stream
that stalls, breaks or ends empty all lead to the next candidate unnoticed. Any
other answer is the caller's, 4xx and 3xx included.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Final

import orjson

from sidecar import headers
from sidecar.config.snapshot import ModelSpec, Snapshot
from sidecar.dialects import DIALECTS
from sidecar.dialects.base import Dialect
from sidecar.dialects.body import edited
from sidecar.errors import UpstreamBroken, UpstreamError, UpstreamsFailed, UpstreamTimeout
from sidecar.sse import UsageStrip
from sidecar.tap import AnswerTap, BlindTap, StreamTap, Tap
from sidecar.types import Call, Decision, Edit, Failure
from sidecar.upstream.base import UpstreamResponse, Upstreams

_RETRIED: Final = frozenset({408, 429}) | frozenset(range(500, 600))
# An unstreamed answer up to this size is whole before its first byte goes down,
# so that one that breaks off can still be asked of the next model.
_HOLD: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Attempt:
    """An upstream that has begun to answer, and what of the answer is here already."""

    model: ModelSpec
    reason: str  # the decision's, or fallback:N
    response: UpstreamResponse
    held: tuple[bytes, ...]
    ended: bool  # the body is whole and in ``held``
    streaming: bool
    tap: Tap
    strip: UsageStrip | None  # where the router asked for a count that the app did not
    failures: tuple[Failure, ...] = ()  # attempts before this one


async def dispatch(
    call: Call, decision: Decision, snapshot: Snapshot, upstreams: Upstreams
) -> Attempt:
    """The first candidate that begins to answer.

    Where all fail: the last upstream's own error, as an attempt to relay, or
    :class:`UpstreamsFailed` if none sent one.
    """
    refusal: Attempt | None = None
    failure: UpstreamError | None = None
    failures: list[Failure] = []
    try:
        for index, name in enumerate((decision.model, *decision.fallbacks)):
            reason = f"fallback:{index}" if index else decision.reason
            try:
                attempt = await _attempt(call, snapshot.models[name], reason, upstreams)
            except UpstreamError as exc:
                failure = exc
                failures.append(Failure(name, str(exc)))
                continue
            attempt = replace(attempt, failures=tuple(failures))
            if refusal is not None:
                refusal.response.close()
                refusal = None
            if attempt.response.status not in _RETRIED:
                return attempt
            refusal = attempt
            failures.append(Failure(name, f"status {attempt.response.status}"))
        if refusal is not None:
            last, refusal = refusal, None
            return last
    finally:
        if refusal is not None:
            refusal.response.close()
    assert failure is not None  # at least one candidate was tried
    raise UpstreamsFailed(
        f"No upstream could answer; the last said: {failure}. Try again.",
        status=failure.status,
        code=failure.code,
        failures=tuple((f.model, f.why) for f in failures),
    ) from failure


async def _attempt(call: Call, model: ModelSpec, reason: str, upstreams: Upstreams) -> Attempt:
    """One model asked, up to its first content; :class:`UpstreamError` if it has none."""
    upstream = model.upstream
    dialect = DIALECTS[call.dialect]
    edits = [Edit(*call.model_span, orjson.dumps(model.upstream_model))]
    counting = call.usage_edit is not None and upstream.stream_usage
    if call.usage_edit is not None and counting:
        edits.append(call.usage_edit)
    body = edited(call.body, edits)
    path = f"{dialect.path}?{call.query}" if call.query else dialect.path
    fields = headers.up(call.headers, upstream, readable=counting)
    try:
        async with asyncio.timeout(upstream.timeouts.first_content_s):
            response = await upstreams.send(upstream, path, fields, body)
            try:
                tap, streaming = _tap_for(response, dialect)
                held, ended = await _hold(response, tap, streaming)
            except BaseException:
                response.close()
                raise
    except TimeoutError:
        raise UpstreamTimeout(f"{model.name} sent no content in time") from None
    strip = UsageStrip() if counting and streaming and isinstance(tap, StreamTap) else None
    return Attempt(model, reason, response, tuple(held), ended, streaming, tap, strip)


def _tap_for(response: UpstreamResponse, dialect: Dialect) -> tuple[Tap, bool]:
    fields = {name.lower(): value for name, value in response.headers}
    # a refusal is the caller's to read, in whatever shape it comes
    streaming = response.status < 300 and (
        fields.get("content-type", "").lower().startswith("text/event-stream")
    )
    if fields.get("content-encoding", "identity") != "identity":
        return BlindTap(), streaming
    return (StreamTap(dialect) if streaming else AnswerTap(dialect)), streaming


async def _hold(response: UpstreamResponse, tap: Tap, streaming: bool) -> tuple[list[bytes], bool]:
    """Read up to the first content of a stream, or the whole of a small answer."""
    held: list[bytes] = []
    size = 0
    while True:
        chunk = await response.read()
        if not chunk:
            if response.status < 300:
                _check_whole(held, tap)
            return held, True
        held.append(chunk)
        size += len(chunk)
        tap.feed(chunk)
        if streaming:
            if tap.content:
                return held, False
            if tap.error:
                raise UpstreamBroken("the stream began with an error")
        if size > _HOLD:
            return held, False


def _check_whole(held: list[bytes], tap: Tap) -> None:
    """Refuse what ended well as far as HTTP goes, and yet is no answer."""
    if isinstance(tap, StreamTap) and not tap.content:
        raise UpstreamBroken("the stream ended before its first content")
    if isinstance(tap, AnswerTap):
        body = b"".join(held).strip()
        if not (body.startswith(b"{") and body.endswith(b"}")):
            raise UpstreamBroken("the answer is not a JSON object")
