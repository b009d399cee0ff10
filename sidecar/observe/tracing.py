"""OpenTelemetry spans of requests, after the fact.

On the path a sampled request costs two random ids and one header: the caller's
W3C ``traceparent`` is read, and the one that goes upstream names the span that
will describe the upstream call. The spans are made when the request is over,
from what accounting has in hand, and handed to the SDK's bounded queue, whose
thread sends them; a collector that is slow or gone loses spans and nothing else.
A request that is not sampled passes untouched, as all do where no ``tracing`` is
configured. Names and attributes are OpenTelemetry's GenAI semantic conventions;
what they have no word for is under ``pointsman.``. No prompt and no answer is here.

Needs the ``otel`` extra, imported only where it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from sidecar import __version__
from sidecar.account import Record
from sidecar.config.schema import Tracing
from sidecar.dialects import DIALECTS
from sidecar.errors import SidecarError, trace
from sidecar.observe.told import model_and_reasons
from sidecar.parse import Received

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

log = logging.getLogger("sidecar.tracing")

_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1
_EXPORT_S: Final = 5.0  # for one batch to be taken
_FLUSH_S: Final = 3.0  # for what is left when the process ends
_EVERY_MS: Final = 1000.0
_OPERATIONS: Final = MappingProxyType(
    {
        "chat": "chat",
        "completions": "text_completion",
        "responses": "chat",
        "embeddings": "embeddings",
        "messages": "chat",
    }
)


class TracingError(SidecarError):
    """Tracing is configured and cannot be."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The caller's place in its trace."""

    trace_id: int
    span_id: int
    sampled: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """One sampled request: the ids that its spans will have."""

    parent: Parent | None
    trace_id: int
    upstream_span: int  # told to the upstream, so known before there is a span


def parent_of(lines: Sequence[bytes]) -> Parent | None:
    """What one valid ``traceparent`` says; None for none, several, or nonsense (W3C, 3.2).

    ``lines`` are those of a request's head.
    """
    found = [line for line in lines if _name(line) == b"traceparent"]
    value = found[0].partition(b":")[2].strip() if len(found) == 1 else b""
    match = _PARENT.fullmatch(value.decode("latin-1"))
    if match is None:
        return None
    version, whole, span, flags, more = match.groups()
    if version == "ff" or (version == "00" and more):
        return None
    trace_id, span_id = int(whole, 16), int(span, 16)
    if not trace_id or not span_id:
        return None
    return Parent(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


class Tracer:
    """Samples requests and makes their spans. :meth:`close` sends what is left."""

    def __init__(self, settings: Tracing, env: Mapping[str, str] = os.environ) -> None:
        """Raises :class:`TracingError` where the ``otel`` extra is not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
                OTLPSpanExporter,
            )
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
            from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415
        except ImportError as exc:
            raise TracingError(
                "`tracing` needs OpenTelemetry's SDK. Install it: pip install 'pointsman[otel]'"
            ) from exc
        self._sample = settings.sample
        self._random = random.Random()  # noqa: S311  # ids, not secrets
        self._ids = _ids(self._random)
        self._exporter = OTLPSpanExporter(
            endpoint=f"{settings.endpoint.rstrip('/')}/v1/traces",
            headers=_pairs(env.get(settings.headers_env, "") if settings.headers_env else ""),
            timeout=_EXPORT_S,
        )
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # what is not sampled does not get this far
            id_generator=self._ids,
            resource=Resource.create(
                {"service.name": settings.service_name, "service.version": __version__}
            ),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=settings.max_queue,
                schedule_delay_millis=_EVERY_MS,
                max_export_batch_size=min(512, settings.max_queue),
            )
        )
        self._tracer = self._provider.get_tracer("pointsman", __version__)

    def begin(self, received: Received) -> tuple[Trace | None, Received]:
        """Whether this request is traced, and the request as it then goes on.

        A caller's own decision is kept; without one, ``sample`` of all are traced.
        """
        passed = received.head.passed
        lines = passed.plain.split(b"\r\n")[:-1]
        parent = parent_of(lines)
        sampled = self._random.random() < self._sample if parent is None else parent.sampled
        if not sampled:
            return None, received
        trace_id = parent.trace_id if parent else self._random.getrandbits(128) or 1
        traced = Trace(parent, trace_id, self._random.getrandbits(64) or 1)
        told = f"traceparent: 00-{trace_id:032x}-{traced.upstream_span:016x}-01"
        # without a valid parent its tracestate is of no trace
        dropped = {b"traceparent"} if parent else {b"traceparent", b"tracestate"}
        kept = [line for line in lines if _name(line) not in dropped]
        plain = b"\r\n".join((*kept, told.encode(), b""))
        head = replace(received.head, passed=replace(passed, plain=plain))
        return traced, replace(received, head=head)

    def end(self, traced: Trace, over: Record, told: Sequence[bytes] = ()) -> None:
        """Queue the spans of a request that is over; whatever fails here is no request's fault.

        ``told`` is what of its answer :func:`~sidecar.observe.told.model_and_reasons` reads.
        """
        try:
            self._spans(traced, over, told)
        except Exception as exc:
            log.error("spans were lost: %s", trace(exc))

    def _spans(self, traced: Trace, over: Record, told: Sequence[bytes]) -> None:
        """The request's own span, its stages', the upstream call's."""
        from opentelemetry import trace as otel  # noqa: PLC0415

        outcome = over.outcome
        ended = int(over.at * 1e9)
        at = began = ended - int(outcome.total_ms * 1e6)
        self._ids.next_trace = traced.trace_id
        root = self._tracer.start_span(
            f"POST /v1{DIALECTS[over.dialect].path}",
            context=_context(traced),
            kind=otel.SpanKind.SERVER,
            attributes=_request(over),
            start_time=began,
        )
        inside = otel.set_span_in_context(root)
        for stage, ms in over.laps.items():
            if stage != "upstream":
                span = self._tracer.start_span(stage, context=inside, start_time=at)
                at += int(ms * 1e6)
                span.end(at)
        ends = [root]
        if outcome.attempts:  # else the answer was kept, and no upstream was asked
            ends.insert(0, self._call(traced, over, told, inside, at))
        for span in ends:
            if _failed(over, span is root):
                span.set_attribute("error.type", _fault(over))
                span.set_status(otel.Status(otel.StatusCode.ERROR))
            span.end(ended)

    def _call(
        self, traced: Trace, over: Record, told: Sequence[bytes], inside: Context, at: int
    ) -> Span:
        """The span of the upstream call, whose id the upstream was told."""
        from opentelemetry import trace as otel  # noqa: PLC0415

        model = over.snapshot.models[over.outcome.model]
        self._ids.next_span = traced.upstream_span
        return self._tracer.start_span(
            f"{_OPERATIONS[over.dialect]} {model.upstream_model}",
            context=inside,
            kind=otel.SpanKind.CLIENT,
            attributes=_upstream(over, told),
            start_time=at,
        )

    async def close(self) -> None:
        """Send what is left, for a bounded time: a dead collector must not hold up the end."""
        done = threading.Event()

        def flush() -> None:
            with contextlib.suppress(Exception):
                self._provider.shutdown()
            done.set()

        threading.Thread(target=flush, name="tracing-flush", daemon=True).start()
        if not await asyncio.to_thread(done.wait, _FLUSH_S):
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # it gives up waiting to try again


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].lower()


def _context(traced: Trace) -> Context:
    """The caller's span as the parent of ours; an empty context where there is none."""
    from opentelemetry import trace as otel  # noqa: PLC0415
    from opentelemetry.context import Context  # noqa: PLC0415

    if traced.parent is None:
        return Context()
    place = otel.SpanContext(
        traced.trace_id,
        traced.parent.span_id,
        is_remote=True,
        trace_flags=otel.TraceFlags(_SAMPLED),
    )
    return otel.set_span_in_context(otel.NonRecordingSpan(place), Context())


def _ids(dice: random.Random) -> Any:
    """An id generator that gives the ids already told to others, and random ones otherwise."""
    from opentelemetry.sdk.trace.id_generator import IdGenerator  # noqa: PLC0415

    class Ids(IdGenerator):
        next_trace = next_span = 0

        def generate_trace_id(self) -> int:
            given, self.next_trace = self.next_trace, 0
            return given or dice.getrandbits(128) or 1

        def generate_span_id(self) -> int:
            given, self.next_span = self.next_span, 0
            return given or dice.getrandbits(64) or 1

    return Ids()


def _request(over: Record) -> dict[str, AttributeValue]:
    """What is said of the request as the caller sees it, and of its decision."""
    decision, outcome, reading = over.decision, over.outcome, over.decision.reading
    about: dict[str, AttributeValue | None] = {
        "http.request.method": "POST",
        "http.route": f"/v1{DIALECTS[over.dialect].path}",
        "url.path": f"/v1{DIALECTS[over.dialect].path}",
        "url.scheme": "http",
        "http.response.status_code": outcome.status,
        "pointsman.request_id": over.request_id,
        "pointsman.route": decision.route,
        "pointsman.decided": decision.model,
        "pointsman.reason": decision.reason,
        "pointsman.model": outcome.model,
        "pointsman.answered": outcome.reason,
        "pointsman.ended": outcome.ended,
        "pointsman.difficulty": reading.difficulty if reading else None,
        "pointsman.task": (reading.task or None) if reading else None,
        "pointsman.failed": [f"{each.model}: {each.why}" for each in outcome.failures] or None,
    }
    return {name: value for name, value in about.items() if value is not None}


def _upstream(over: Record, told: Sequence[bytes]) -> dict[str, AttributeValue]:
    """What is said of the call of a model, in the words of the GenAI conventions."""
    outcome, usage = over.outcome, over.outcome.usage
    model = over.snapshot.models[outcome.model]
    named, reasons = model_and_reasons(told)
    where = urlsplit(outcome.base_url or model.upstream.base_url)
    first = outcome.first_byte_ms
    if first is not None:  # counted from the request; the call began once it was decided
        first -= sum(ms for stage, ms in over.laps.items() if stage != "upstream")
    about: dict[str, AttributeValue | None] = {
        "gen_ai.operation.name": _OPERATIONS[over.dialect],
        "gen_ai.provider.name": model.upstream.family,
        "gen_ai.request.model": model.upstream_model,
        "gen_ai.request.stream": over.stream or None,
        "gen_ai.response.id": outcome.answer_id or None,
        "gen_ai.response.model": named or None,
        "gen_ai.response.finish_reasons": reasons or None,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.written_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "gen_ai.response.time_to_first_chunk": first / 1e3 if first and over.stream else None,
        "server.address": where.hostname,
        "server.port": where.port or (443 if where.scheme == "https" else 80),
        "pointsman.cost_usd": model.price.charged(usage),
    }
    return {name: value for name, value in about.items() if value is not None}


def _failed(over: Record, served: bool) -> bool:
    """Whether a span is an error: a 4xx is the caller's own, so of the call and not of the serving.

    OpenTelemetry's HTTP conventions, "Status".
    """
    ended, status = over.outcome.ended, over.outcome.status
    if ended in {"failed", "upstream-broken"}:
        return True
    return status >= (500 if served else 400) and ended != "hang-up"


def _fault(over: Record) -> str:
    """``error.type``: the status where an upstream gave one, else how the answer ended."""
    ended = over.outcome.ended
    return str(over.outcome.status) if ended in {"refused", "complete"} else ended


def _pairs(text: str) -> dict[str, str]:
    """Headers for the collector, ``name=value,name=value``, as OpenTelemetry writes them."""
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {name.strip(): value.strip() for name, _, value in pairs}
