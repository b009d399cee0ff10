"""Ordered attempts: from a decision to an upstream that has begun to answer.

The candidates were ordered by the decision and all of them can serve the call.
An attempt counts as begun once its first content is here, and until then the
caller has been sent nothing: so a refused connection, a 429, a 5xx, a stream
that stalls, breaks or ends empty all lead to the next candidate unnoticed. Any
other answer is the caller's, 4xx and 3xx included.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote_plus

import orjson

from sidecar import headers
from sidecar.clock import Deadlines
from sidecar.config.schema import Cascade
from sidecar.config.snapshot import ModelSpec, Snapshot, UpstreamSpec
from sidecar.decide.answer_check import fault
from sidecar.decide.experiment import under
from sidecar.dialects import DIALECTS, overrides
from sidecar.dialects.answers import said
from sidecar.dialects.base import Dialect
from sidecar.dialects.body import edited
from sidecar.errors import UpstreamBroken, UpstreamError, UpstreamsFailed, UpstreamTimeout
from sidecar.headers import AnswerHead
from sidecar.sse import UsageStrip
from sidecar.tap import AnswerTap, BlindTap, StreamTap, Tap
from sidecar.types import Call, Decision, Edit, Failure
from sidecar.upstream.base import UpstreamResponse, Upstreams
from sidecar.upstream.health import Health, Replica, retry_after

_RETRIED: Final = frozenset({408, 429})  # and 500 up
# An unstreamed answer up to this size is whole before its first byte goes down,
# so that one that breaks off can still be asked of the next model.
_HOLD: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Attempt:
    """An upstream that has begun to answer, and what of the answer is here already."""

    model: ModelSpec
    reason: str  # the decision's, or fallback:N
    idle_s: float  # how long it may be silent
    response: UpstreamResponse
    head: AnswerHead
    held: bytes
    ended: bool  # the body is whole and in ``held``
    streaming: bool
    tap: Tap
    strip: UsageStrip | None  # where the router asked for a count that the app did not
    failures: tuple[Failure, ...]  # attempts before this one
    _replica: Replica

    def close(self) -> None:
        """The answer is over, or nobody waits for it any more. To be called once."""
        Health.ended(self._replica)
        self.response.close()


class Dispatcher:
    """Asks upstreams, for every request of a process."""

    def __init__(self, upstreams: Upstreams, health: Health, deadlines: Deadlines) -> None:
        self.upstreams = upstreams
        self.health = health
        self.deadlines = deadlines

    async def dispatch(self, call: Call, decision: Decision, snapshot: Snapshot) -> Attempt:
        """The first candidate that begins to answer.

        A candidate with several replicas is asked at each that may be asked, the
        least loaded first. Where all fail: the last upstream's own error, as an
        attempt to relay, or :class:`UpstreamsFailed` if none sent one.
        """
        trial = _Trial(call, self)
        route = snapshot.routes.get(decision.route) if decision.tries else None
        rules = under(route, decision.arm).cascade if route else None
        try:
            for last_resort in (False, True):
                for index, name in enumerate((decision.model, *decision.fallbacks)):
                    model = snapshot.models[name]
                    reason = f"fallback:{index}" if index else decision.reason
                    trial.rules = rules if index < decision.tries else None
                    tried: set[str] = set()
                    while spec := self._next(model, tried, last_resort):
                        tried.add(spec.base_url)
                        attempt = await trial.at(spec, model, reason)
                        if attempt is not None and trial.rules is not None:
                            attempt = await trial.checked(attempt, trial.rules)
                            if attempt is None:  # at another address it would be no better
                                break
                        if attempt is not None:
                            trial.drop_rejected()
                            return attempt
                if trial.failures:  # else every breaker is open: then asking is all that is left
                    break
            return trial.refused()
        except BaseException:
            trial.drop_refusal()
            trial.drop_rejected()
            raise

    def _next(self, model: ModelSpec, tried: set[str], forced: bool) -> UpstreamSpec | None:
        """Which address of ``model`` to ask now; None where none is left."""
        spec = self.health.pick(model.replicas, tried, time.monotonic())
        return model.upstream if spec is None and forced and not tried else spec


class _Trial:
    """The attempts of one request, and what is left of those that failed."""

    __slots__ = ("_call", "_fault", "_from", "_refusal", "_rejected", "failures", "rules")

    def __init__(self, call: Call, dispatcher: Dispatcher) -> None:
        self._call = call
        self._from = dispatcher
        self._refusal: Attempt | None = None  # an upstream's own error, the latest
        self._fault: UpstreamError | None = None
        self._rejected: Attempt | None = None  # an answer that its check did not pass
        self.rules: Cascade | None = None  # of the check of the answer that comes next
        self.failures: list[Failure] = []

    async def at(self, spec: UpstreamSpec, model: ModelSpec, reason: str) -> Attempt | None:
        """Ask ``model`` at ``spec``; None where it did not begin to answer."""
        health = self._from.health
        replica = health.begin(spec)
        try:
            attempt = await self._attempt(spec, model, reason, replica)
        except UpstreamError as exc:
            health.ended(replica)
            health.failed(replica, time.monotonic())
            self._fault = exc
            self.failures.append(Failure(model.name, str(exc)))
            return None
        except BaseException:
            health.ended(replica)
            raise
        status = attempt.response.status
        if status < 500 and status not in _RETRIED:
            health.answered(replica)
            self.drop_refusal()
            return attempt
        health.failed(replica, time.monotonic(), retry_after(attempt.head.retry_after))
        self.drop_refusal()
        self._refusal = attempt
        self.failures.append(Failure(model.name, f"status {status}"))
        return None

    async def _attempt(
        self, upstream: UpstreamSpec, model: ModelSpec, reason: str, replica: Replica
    ) -> Attempt:
        """One address asked, up to its first content; :class:`UpstreamError` if it has none."""
        call = self._call
        dialect = DIALECTS[call.dialect]
        counting = call.usage_edit is not None and upstream.stream_usage
        body = _body(call, model, counting=counting)
        path = _path(dialect.path, call.query, upstream)
        readable = counting or self.rules is not None
        lines = headers.up(call.passed, upstream, readable=readable)
        try:
            with self._from.deadlines.limit(upstream.timeouts.first_content_s):
                response = await self._from.upstreams.send(upstream, path, lines, body)
                try:
                    head = headers.down(response.headers)
                    tap, streaming = _tap_for(response.status, head, dialect)
                    held, ended = await _hold(response, tap, streaming)
                except BaseException:
                    response.close()
                    raise
        except TimeoutError:
            raise UpstreamTimeout(f"{model.name} sent no content in time") from None
        strip = UsageStrip() if counting and streaming and isinstance(tap, StreamTap) else None
        return Attempt(
            model, reason, upstream.timeouts.idle_s, response, head, held, ended,
            streaming, tap, strip, tuple(self.failures), replica,
        )  # fmt: skip

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
                with self._from.deadlines.limit(attempt.idle_s):
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
            return self._refusal
        fault = self._fault
        assert fault is not None  # at least one candidate was asked
        raise UpstreamsFailed(
            f"No upstream could answer; the last said: {fault}. Try again.",
            status=fault.status,
            code=fault.code,
            failures=tuple((f.model, f.why) for f in self.failures),
        ) from fault


def _body(call: Call, model: ModelSpec, *, counting: bool) -> bytes:
    """The caller's bytes, but for the model's name, its overrides and, where needed, a count
    asked for."""
    name = orjson.dumps(model.upstream_model)
    start, end = call.model_span
    asks = call.usage_edit if counting else None
    if asks is None and model.overrides is None:
        return call.body[:start] + name + call.body[end:]
    changes = [Edit(start, end, name)]
    if asks is not None:
        changes.append(asks)
    if model.overrides is not None:
        changes += overrides.edits(call.body, call.dialect, model.overrides)
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


def _tap_for(status: int, head: AnswerHead, dialect: Dialect) -> tuple[Tap, bool]:
    # a refusal is the caller's to read, in whatever shape it comes
    streaming = status < 300 and head.content_type.startswith("text/event-stream")
    if head.compressed:
        return BlindTap(), streaming
    return (StreamTap(dialect) if streaming else AnswerTap(dialect)), streaming


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
