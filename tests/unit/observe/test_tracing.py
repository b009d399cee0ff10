"""W3C trace context: what is a parent and what is not, and what goes on."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from sidecar.config.schema import Tracing
from sidecar.dialects import DIALECTS
from sidecar.headers import read
from sidecar.observe.tracing import Parent, Tracer, TracingError, parent_of
from sidecar.parse import Received

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def told(*values: str) -> list[bytes]:
    return [f"Traceparent: {value}".encode() for value in values]


def test_a_valid_traceparent_is_read() -> None:
    assert parent_of(told(GOOD)) == Parent(int(TRACE, 16), int(SPAN, 16), True)
    assert parent_of(told(f"00-{TRACE}-{SPAN}-00")) == Parent(int(TRACE, 16), int(SPAN, 16), False)
    # of a later version what is known is read, and what follows it is left
    later = parent_of(told(f"cc-{TRACE}-{SPAN}-03-what-the-future-holds"))
    assert later == Parent(int(TRACE, 16), int(SPAN, 16), True)


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        (GOOD, GOOD),
        (GOOD.upper(),),
        (GOOD + "-more",),
        (GOOD[:-1],),
        (f"ff-{TRACE}-{SPAN}-01",),
        (f"00-{'0' * 32}-{SPAN}-01",),
        (f"00-{TRACE}-{'0' * 16}-01",),
        (f"00-{TRACE[:-1]}g-{SPAN}-01",),
        (f"00-{TRACE}-{SPAN}-1",),
        ("00-" + "1" * 10_000,),
    ],
)
def test_anything_else_is_no_parent(values: tuple[str, ...]) -> None:
    assert parent_of(told(*values)) is None


def received(*lines: bytes) -> Received:
    fields = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    return Received("req_1", DIALECTS["chat"], read(fields), b"{}")


def sent(request: Received) -> dict[str, str]:
    return dict(request.head.passed.pairs())


@pytest.fixture
async def tracer(request: pytest.FixtureRequest) -> Any:
    made = Tracer(Tracing(endpoint="http://127.0.0.1:9", sample=getattr(request, "param", 1.0)))
    yield made
    await made.close()


async def test_a_trace_is_continued_with_a_span_of_our_own(tracer: Tracer) -> None:
    trace, after = tracer.begin(received(b"A: b", *told(GOOD), b"tracestate: vendor=1"))
    assert trace is not None
    assert f"{trace.upstream_span:016x}" != SPAN
    assert sent(after) == {
        "a": "b",
        "tracestate": "vendor=1",
        "traceparent": f"00-{TRACE}-{trace.upstream_span:016x}-01",
    }
    assert after.head.passed.plain.lower().count(b"traceparent") == 1


async def test_without_a_valid_parent_a_new_trace_begins(tracer: Tracer) -> None:
    first, one = tracer.begin(received(*told("nonsense"), b"tracestate: vendor=1"))
    second, _ = tracer.begin(received())
    assert first is not None
    assert second is not None
    assert first.trace_id != second.trace_id
    assert sent(one).keys() == {"traceparent"}


@pytest.mark.parametrize("tracer", [0.0], indirect=True)
async def test_what_is_not_sampled_passes_untouched(tracer: Tracer) -> None:
    request = received(b"A: b")
    assert tracer.begin(request) == (None, request)
    trace, _ = tracer.begin(received(*told(GOOD)))
    assert trace is not None  # the caller decided


async def test_a_caller_who_does_not_trace_is_not_traced(tracer: Tracer) -> None:
    request = received(*told(f"00-{TRACE}-{SPAN}-00"))
    assert tracer.begin(request) == (None, request)


@pytest.mark.parametrize("tracer", [0.25], indirect=True)
async def test_the_share_sampled_is_the_configured_one(tracer: Tracer) -> None:
    request = received()
    hits = sum(tracer.begin(request)[0] is not None for _ in range(8000))
    assert 1700 < hits < 2300


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(TracingError, match=r"pointsman\[otel\]"):
        Tracer(Tracing(endpoint="http://127.0.0.1:4318"))
