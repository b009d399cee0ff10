"""Spans of real requests at a real OTLP receiver, and traffic that does not mind a dead one."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

from sidecar.classify.dummy import DummyReader
from sidecar.observe import tracing
from sidecar.types import Reading
from tests.conftest import Start, by_word
from tests.support.collector import Collector, Seen
from tests.support.raw_upstream import DONE, RawUpstream, answer, event, stream
from tests.support.wire import Reply, chat, exchange, post

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"traceparent: 00-{TRACE}-{SPAN}-01\r\n"
JSON = "Content-Type: application/json\r\n"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    made = Collector()
    await made.start()
    yield made
    await made.stop()


async def ask(address: str, text: str = "hello", headers: str = "", **fields: Any) -> Reply:
    return await exchange(address, post(chat(text, **fields), headers=JSON + headers))


async def until(spans: list[Seen], whole: Callable[[list[Seen]], bool]) -> None:
    async with asyncio.timeout(20):
        while not whole(spans):
            await asyncio.sleep(0.02)


async def test_a_request_is_told_in_spans_of_its_callers_trace(
    start: Start, config: dict[str, Any], upstream: RawUpstream, collector: Collector
) -> None:
    sidecar = await start({**config, "tracing": {"endpoint": collector.url}})
    reply = await ask(sidecar.app.listen, "the secret prompt", PARENT + "tracestate: v=1\r\n")
    assert reply.status == 200
    await until(collector.spans, lambda spans: len(spans) >= 5)
    by_name = {span.name: span for span in collector.spans}
    root, call = by_name["POST /v1/chat/completions"], by_name["chat tiny-1"]
    assert {span.trace for span in collector.spans} == {TRACE}
    assert (root.parent, root.kind, root.service) == (SPAN, 2, "pointsman")
    assert (call.parent, call.kind, call.error) == (root.span, 3, False)
    assert {"parse", "classify", "decide"} <= by_name.keys()
    assert all(by_name[stage].parent == root.span for stage in ("parse", "classify", "decide"))
    assert root.began <= by_name["parse"].began <= by_name["decide"].ended <= call.began
    assert call.began < call.ended <= root.ended
    assert root.attributes["pointsman.route"] == "auto"
    assert root.attributes["pointsman.reason"] == "policy"
    assert root.attributes["pointsman.request_id"] == reply.header("x-router-request-id")[0]
    assert call.attributes | {"server.port": 0} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "tiny-1",
        "gen_ai.response.model": "upstream",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 7,
        "server.address": "127.0.0.1",
        "server.port": 0,
        "pointsman.cost_usd": pytest.approx(18 * 0.07 / 1e6),
    }
    # the upstream was told the very span that describes its call
    sent = upstream.seen[0]
    assert sent.header("traceparent") == [f"00-{TRACE}-{call.span}-01"]
    assert sent.header("tracestate") == ["v=1"]
    assert b"secret" not in b"".join(collector.raw)


async def test_a_stream_and_a_failed_attempt_are_told_too(
    start: Start,
    config: dict[str, Any],
    upstream: RawUpstream,
    second: RawUpstream,
    collector: Collector,
) -> None:
    upstream.script = answer(status="503 Down")
    second.script = stream(event({"content": "hi"}), event({}, "stop"), DONE)
    sidecar = await start({**config, "tracing": {"endpoint": collector.url}})
    assert (await ask(sidecar.app.listen, stream=True)).status == 200
    await until(collector.spans, lambda spans: len(spans) >= 5)
    by_name = {span.name: span for span in collector.spans}
    root, call = by_name["POST /v1/chat/completions"], by_name["chat huge-1"]
    assert root.parent == ""
    assert root.attributes["pointsman.failed"] == ["small: status 503"]
    assert root.attributes["pointsman.answered"] == "fallback:1"
    assert call.attributes["gen_ai.request.stream"] is True
    assert call.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert call.attributes["gen_ai.response.finish_reasons"] == ["stop"]


async def test_a_failure_is_an_error(
    start: Start,
    config: dict[str, Any],
    upstream: RawUpstream,
    second: RawUpstream,
    collector: Collector,
) -> None:
    upstream.script = second.script = answer(status="503 Down")
    sidecar = await start({**config, "tracing": {"endpoint": collector.url}})
    assert (await ask(sidecar.app.listen)).status == 503
    await until(collector.spans, lambda spans: len(spans) >= 5)
    failed = [span for span in collector.spans if span.error]
    assert sorted(span.kind for span in failed) == [2, 3]
    assert {span.attributes["error.type"] for span in failed} == {"503"}


async def test_a_refusal_is_an_error_of_the_call_and_not_of_the_serving(
    start: Start, config: dict[str, Any], upstream: RawUpstream, collector: Collector
) -> None:
    upstream.script = answer(status="400 Bad Request")
    sidecar = await start({**config, "tracing": {"endpoint": collector.url}})
    assert (await ask(sidecar.app.listen)).status == 400
    await until(collector.spans, lambda spans: len(spans) >= 5)
    (failed,) = (span for span in collector.spans if span.error)
    assert (failed.kind, failed.attributes["error.type"]) == (3, "400")


async def test_an_answer_given_again_tells_of_no_upstream_call(
    start: Start, config: dict[str, Any], upstream: RawUpstream, collector: Collector
) -> None:
    config["routes"]["auto"]["response_cache"] = {"ttl_s": 60, "max_mb": 1}
    sidecar = await start({**config, "tracing": {"endpoint": collector.url}})
    for _ in range(2):
        assert (await ask(sidecar.app.listen, temperature=0)).status == 200
    await until(collector.spans, lambda spans: sum(s.kind == 2 for s in spans) == 2)
    await until(collector.spans, lambda spans: any(s.name == "cache" for s in spans))
    assert len(upstream.seen) == 1
    calls = [span.trace for span in collector.spans if span.kind == 3]
    (kept,) = (span.trace for span in collector.spans if span.name == "cache")
    assert len(calls) == 1
    assert kept not in calls


async def test_the_wait_for_the_first_chunk_counts_from_the_call(
    start: Start, config: dict[str, Any], upstream: RawUpstream, collector: Collector
) -> None:
    class Slow(DummyReader):
        def read(self, windows: Sequence[str]) -> list[Reading]:
            time.sleep(0.3)
            return super().read(windows)

    upstream.script = stream(event({"content": "hi"}), event({}, "stop"), DONE)
    settings = {"tracing": {"endpoint": collector.url}}
    sidecar = await start({**config, **settings}, classifier=Slow(by_word), deadline_s=20.0)
    assert (await ask(sidecar.app.listen, stream=True)).status == 200
    await until(collector.spans, lambda spans: len(spans) >= 5)
    (call,) = (span for span in collector.spans if span.kind == 3)
    (root,) = (span for span in collector.spans if span.kind == 2)
    waited = call.attributes["gen_ai.response.time_to_first_chunk"]
    assert 0 < waited <= (call.ended - call.began) / 1e9
    assert (root.ended - root.began) / 1e9 - waited > 0.29


def told_by_the_package() -> dict[str, str]:
    """The GenAI attributes that OpenTelemetry's own package knows, and what it says of each."""
    source = inspect.getsource(gen_ai_attributes)
    return dict(re.findall(r'^GEN_AI_\w+: Final = "(.+?)"\n"""\n(.*?)"""', source, re.M | re.S))


def test_every_genai_attribute_is_one_of_the_conventions_and_documented() -> None:
    known = told_by_the_package()
    assert len(known) > 40
    used = set(re.findall(r'"(gen_ai\.[\w.]+)"', inspect.getsource(tracing)))
    assert {"gen_ai.provider.name", "gen_ai.operation.name"} <= used <= known.keys()
    # they moved to a repository of their own; what was replaced by another name is old
    assert [name for name in used if "Replaced by" in known[name]] == []
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
    names = r'^        "((?:gen_ai|http|url|server|pointsman)\.[\w.]+)":'
    told = set(re.findall(names, inspect.getsource(tracing), re.M)) | {"error.type"}
    assert len(told) > 20
    assert told - set(re.findall(r"`([a-z_.]+)`", page)) == set()


async def test_without_tracing_the_callers_context_passes_untouched(
    start: Start, config: dict[str, Any], upstream: RawUpstream
) -> None:
    sidecar = await start(config)
    await ask(sidecar.app.listen, headers=PARENT + "tracestate: v=1\r\n")
    assert upstream.seen[0].header("traceparent") == [f"00-{TRACE}-{SPAN}-01"]
    assert upstream.seen[0].header("tracestate") == ["v=1"]
    assert sidecar.app.runtime.tracer is None


async def test_the_collectors_headers_come_from_the_environment(
    start: Start,
    config: dict[str, Any],
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLLECTOR_HEADERS", "x-token=abc, x-team = b")
    settings = {"endpoint": collector.url, "headers_env": "COLLECTOR_HEADERS"}
    sidecar = await start({**config, "tracing": settings})
    await ask(sidecar.app.listen)
    await until(collector.spans, bool)
    assert (collector.headers[0]["x-token"], collector.headers[0]["x-team"]) == ("abc", "b")


@pytest.mark.parametrize("kind", ["refuses", "hangs", "is not there"])
async def test_a_bad_collector_hurts_no_request_and_not_the_end(
    start: Start, config: dict[str, Any], collector: Collector, kind: str
) -> None:
    url = collector.url
    if kind == "refuses":
        collector.status = 503
    elif kind == "hangs":
        collector.delay_s = 60.0
    else:
        await collector.stop()
    sidecar = await start({**config, "tracing": {"endpoint": url, "max_queue": 16}})
    replies = await asyncio.gather(*(ask(sidecar.app.listen) for _ in range(30)))
    assert [reply.status for reply in replies] == [200] * 30
    began = time.monotonic()
    await sidecar.app.stop()
    assert time.monotonic() - began < 15  # its own limit is three seconds
