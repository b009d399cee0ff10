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
from sidecar.config.snapshot import ModelSpec, Snapshot, UpstreamSpec
from sidecar.dialects import DIALECTS
from sidecar.dialects.base import Dialect
from sidecar.dialects.body import edited
from sidecar.errors import UpstreamBroken, UpstreamError, UpstreamsFailed, UpstreamTimeout
from sidecar.sse import UsageStrip
from sidecar.tap import AnswerTap, BlindTap, StreamTap, Tap
from sidecar.types import Call, Decision, Edit, Failure
from sidecar.upstream.base import UpstreamResponse, Upstreams
from sidecar.upstream.health import Health, Replica, retry_after

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
    call: Call, decision: Decision, snapshot: Snapshot, upstreams: Upstreams, health: Health
) -> Attempt:
    """The first candidate that begins to answer.

    A candidate with several replicas is asked at each that may be asked, the
    least loaded first. Where all fail: the last upstream's own error, as an
    attempt to relay, or :class:`UpstreamsFailed` if none sent one.
    """
    trial = _Trial(call, upstreams, health)
    try:
        for last_resort in (False, True):
            for index, name in enumerate((decision.model, *decision.fallbacks)):
                reason = f"fallback:{index}" if index else decision.reason
                attempt = await trial.of(snapshot.models[name], reason, forced=last_resort)
                if attempt is not None:
                    return attempt
            if trial.failures:  # else every breaker is open: then asking is all that is left
                break
        return trial.refused()
    except BaseException:
        trial.drop_refusal()
        raise


class _Trial:
    """The attempts of one request, and what is left of those that failed."""

    def __init__(self, call: Call, upstreams: Upstreams, health: Health) -> None:
        self._call = call
        self._upstreams = upstreams
        self._health = health
        self._loop = asyncio.get_running_loop()
        self._refusal: Attempt | None = None  # an upstream's own error, the latest
        self._fault: UpstreamError | None = None
        self.failures: list[Failure] = []

    async def of(self, model: ModelSpec, reason: str, *, forced: bool) -> Attempt | None:
        """Ask ``model`` at its replicas, in turn; None where none began to answer."""
        tried: set[str] = set()
        while True:
            spec = self._health.pick(model.replicas, tried, self._loop.time())
            if spec is None and forced and not tried:
                spec = model.upstream
            if spec is None:
                return None
            tried.add(spec.base_url)
            attempt = await self._at(spec, model, reason)
            if attempt is not None:
                return attempt

    async def _at(self, spec: UpstreamSpec, model: ModelSpec, reason: str) -> Attempt | None:
        health = self._health
        replica = health.begin(spec)
        try:
            attempt = await _attempt(self._call, spec, model, reason, self._upstreams)
        except UpstreamError as exc:
            health.ended(replica)
            health.failed(replica, self._loop.time())
            self._fault = exc
            self.failures.append(Failure(model.name, str(exc)))
            return None
        except BaseException:
            health.ended(replica)
            raise
        attempt = replace(
            attempt,
            response=_Tracked(attempt.response, replica),
            failures=tuple(self.failures),
        )
        status = attempt.response.status
        if status not in _RETRIED:
            health.answered(replica)
            self.drop_refusal()
            return attempt
        fields = {name.lower(): value for name, value in attempt.response.headers}
        health.failed(replica, self._loop.time(), retry_after(fields.get("retry-after")))
        self.drop_refusal()
        self._refusal = attempt
        self.failures.append(Failure(model.name, f"status {status}"))
        return None

    def drop_refusal(self) -> None:
        if self._refusal is not None:
            self._refusal.response.close()
            self._refusal = None

    def refused(self) -> Attempt:
        """What to tell the caller where no candidate answered."""
        if self._refusal is not None:
            return self._refusal
        fault = self._fault
        assert fault is not None  # at least one candidate was asked
        raise UpstreamsFailed(
            f"No upstream could answer; the last said: {fault}. Try again.",
            status=fault.status,
            code=fault.code,
            failures=tuple((f.model, f.why) for f in self.failures),
        ) from fault


class _Tracked:
    """An answer whose end is told to its replica, once."""

    def __init__(self, response: UpstreamResponse, replica: Replica) -> None:
        self._response = response
        self._replica: Replica | None = replica
        self.status = response.status
        self.reason = response.reason
        self.headers = response.headers
        self.read = response.read

    def close(self) -> None:
        if self._replica is not None:
            Health.ended(self._replica)
            self._replica = None
        self._response.close()


async def _attempt(
    call: Call, upstream: UpstreamSpec, model: ModelSpec, reason: str, upstreams: Upstreams
) -> Attempt:
    """One address asked, up to its first content; :class:`UpstreamError` if it has none."""
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
