"""Bytes pass as they came, both ways, and headers only where they may."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest

from tests.conftest import Running, Start, config_for
from tests.support.raw_upstream import (
    ANSWER,
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    RawUpstream,
    answer,
    chunk,
    event,
    raw,
    stream,
)
from tests.support.wire import Reply, Wire, chat, exchange, post

ROUTER = ("model", "route", "reason", "decision-ms", "request-id")


@pytest.fixture
async def sidecar(start: Start, config: dict[str, object]) -> Running:
    return await start(config)


async def ask(sidecar: Running, request: bytes) -> Reply:
    return await exchange(sidecar.app.listen, request)


ODD_ANSWERS = {
    "plain": orjson.dumps(ANSWER),
    "odd white space": b' {\r\n\t"choices" : [ ] ,\n  "unknown_field" : { "x" : 1.0e+2 } }\n ',
    "keys twice and out of order": b'{"usage":null,"id":"b","id":"a","choices":[]}',
    "escapes as written": rb'{"choices":[{"message":{"content":"\u00e9\/\ud83d\ude00 \ud800"}}]}',
    "numbers as written": b'{"choices":[],"created":1e3,"big":123456789012345678901234567890}',
    "bytes outside ASCII": '{"choices":[],"x":"žluťoučký 😀"}'.encode(),
    "large": b'{"choices":[],"x":"' + b"y" * 3_000_000 + b'"}',
}


@pytest.mark.parametrize("name", ODD_ANSWERS)
async def test_relay_is_byte_identical(sidecar: Running, upstream: RawUpstream, name: str) -> None:
    upstream.script = answer(ODD_ANSWERS[name])
    reply = await ask(sidecar, post(chat()))
    assert (reply.status, reply.whole) == (200, True)
    assert reply.body == ODD_ANSWERS[name]


ODD_STREAMS = {
    "plain": [
        event({"role": "assistant"}),
        event({"content": "hel"}),
        event({"content": "lo"}),
        DONE,
    ],
    "no space, CR LF, comments": [
        b": hi\r\n\r\n",
        event({"content": "x"}).replace(b"data: ", b"data:").replace(b"\n", b"\r\n"),
        b"event: custom\r\nid: 7\r\ndata:[DONE]\r\n\r\n",
    ],
    "events cut anywhere": [
        bytes([byte]) for byte in event({"content": "žluťoučký 😀"}) + event({}, "stop") + DONE
    ],
    "unknown fields and extra spaces": [
        b'data:  { "choices" : [ {"delta":{"content":"x"}, "odd":{}} ] }\n\n',
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"x_vendor":[1]}\n\n',
        b"data: [DONE]\n\n\n\n: bye\n\n",
    ],
    "no DONE but a finish": [event({"content": "x"}), event({}, finish="stop")],
}


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("name", ODD_STREAMS)
async def test_a_stream_is_relayed_byte_for_byte(
    sidecar: Running, upstream: RawUpstream, name: str, counted: bool
) -> None:
    upstream.script = stream(*ODD_STREAMS[name])
    options = {"stream_options": {"include_usage": True}} if counted else {}
    reply = await ask(sidecar, post(chat(stream=True, **options)))
    assert (reply.status, reply.whole) == (200, True)
    assert reply.body == b"".join(ODD_STREAMS[name])
    assert reply.header("x-accel-buffering") == ["no"]
    assert reply.header("content-type") == ["text/event-stream"]


async def test_each_event_comes_as_it_was_sent_and_not_at_the_end(
    sidecar: Running, upstream: RawUpstream
) -> None:
    first, second = event({"content": "one"}), event({"content": "two"})
    upstream.script = raw(STREAM_HEAD, chunk(first), 0.2, chunk(second), 0.2, 3600.0)
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat(stream=True)))
        await wire.head()
        # the stream never ends: what is read here cannot have waited for its end
        assert await wire.chunk() == first
        assert await wire.chunk() == second


async def test_a_stream_with_a_length_is_relayed_without_it(
    sidecar: Running, upstream: RawUpstream
) -> None:
    body = event({"content": "x"}) + DONE
    upstream.script = answer(body, headers="Content-Type: text/event-stream; charset=utf-8\r\n")
    reply = await ask(sidecar, post(chat(stream=True)))
    assert reply.body == body
    assert reply.header("content-length") == []


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
async def test_a_compressed_answer_is_not_touched(
    sidecar: Running, upstream: RawUpstream, encoding: str
) -> None:
    packed = gzip.compress(orjson.dumps(ANSWER))  # to the sidecar, whatever: bytes
    fields = f"Content-Type: application/json\r\nContent-Encoding: {encoding}\r\n"
    upstream.script = answer(packed, headers=fields)
    asked = f"Content-Type: application/json\r\nAccept-Encoding: {encoding}\r\n"
    reply = await ask(sidecar, post(chat(), headers=asked))
    assert reply.body == packed
    assert reply.header("content-encoding") == [encoding]
    assert upstream.seen[0].header("accept-encoding") == [encoding]
    # what it cost is read from a copy, where that can be unpacked
    counted = sidecar.app.runtime.telemetry.exposition().decode()
    line = 'router_tokens_total{kind="output",model="small",route="auto"} 7.0'
    assert (line in counted) == (encoding == "gzip")


async def test_a_compressed_stream_is_not_touched(sidecar: Running, upstream: RawUpstream) -> None:
    packed = gzip.compress(event({"content": "x"}) + DONE)
    head = STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    upstream.script = raw(head, chunk(packed[:9]), chunk(packed[9:]), LAST_CHUNK)
    reply = await ask(sidecar, post(chat(stream=True)))
    assert (reply.body, reply.whole) == (packed, True)


TALK = rb'"messages":[{"role":"user","content":"hi \ud83d \"model\":\"auto\""}]'
BODIES = [  # (a body, its model's value as written there)
    (b'{"model":"auto",' + TALK + b"}", b'"auto"'),
    (b" {\n " + TALK + b' ,\t"model" : "auto" , "x":1e2 }\r\n', b'"auto"'),
    (rb'{"\u006dodel":"a\u0075to",' + TALK + b"}", rb'"a\u0075to"'),
    (b'{"unknown":{"model":"auto"},' + TALK + b',"model":"auto","y":"\xc5\xbe"}', b'"auto"'),
]


@pytest.mark.parametrize("number", range(len(BODIES)))
async def test_the_body_goes_up_byte_for_byte_but_for_the_model(
    sidecar: Running, upstream: RawUpstream, number: int
) -> None:
    body, value = BODIES[number]
    assert (await ask(sidecar, post(body))).status == 200
    head, _, tail = body.rpartition(value)
    assert upstream.seen[0].body == head + b'"tiny-1"' + tail
    assert upstream.seen[0].line == "POST /v1/chat/completions HTTP/1.1"


async def test_a_large_body_and_a_chunked_one_go_up_whole(
    sidecar: Running, second: RawUpstream
) -> None:
    url = "data:image/png;base64," + "A" * 5_000_000
    body = orjson.dumps(
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
            ],
            "model": "auto",
        }
    )
    sent = body.replace(b'"auto"', b'"huge-1"')
    assert (await ask(sidecar, post(body))).status == 200
    assert second.seen[0].body == sent
    head = post(b"", headers="Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n")
    head = head.replace(b"Content-Length: 0", b"X-Note: 1")
    pieces = b"".join(chunk(body[i : i + 65_000]) for i in range(0, len(body), 65_000))
    assert (await ask(sidecar, head + pieces + LAST_CHUNK)).status == 200
    assert second.seen[1].body == sent
    assert second.seen[1].header("content-length") == [str(len(sent))]


async def test_what_is_the_callers_does_not_go_up(
    start: Start, config: dict[str, object], upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UP_KEY", "the-upstreams-own")
    config["upstreams"]["local"]["api_key_env"] = "UP_KEY"  # type: ignore[index]
    sidecar = await start(config)
    fields = (
        "Content-Type: application/json\r\nAuthorization: Bearer callers\r\nx-api-key: callers\r\n"
        "Cookie: session=callers\r\nX-Router-Session: callers\r\nx-router-tenant: callers\r\n"
        "Connection: keep-alive, X-Hop\r\nX-Hop: callers\r\nTE: trailers\r\nX-Kept: yes\r\n"
        "Proxy-Authorization: callers\r\nKeep-Alive: 5\r\nOpenAI-Organization: org\r\n"
    )
    reply = await ask(sidecar, post(chat(), headers=fields))
    seen = upstream.seen[0]
    assert reply.status == 200
    assert not [name for name, value in seen.headers if "callers" in value or name.lower() == "te"]
    assert not [name for name, _ in seen.headers if name.lower().startswith("x-router-")]
    assert seen.header("authorization") == ["Bearer the-upstreams-own"]
    assert seen.header("x-kept") == ["yes"]
    assert seen.header("openai-organization") == ["org"]
    assert seen.header("host") == [upstream.url.split("/")[2]]


async def test_passthrough_and_only_passthrough_sends_the_callers_key(
    start: Start, upstream: RawUpstream
) -> None:
    config = config_for(upstream.url)
    config["upstreams"]["local"]["auth"] = "passthrough"  # type: ignore[index]
    sidecar = await start(config)
    fields = "Content-Type: application/json\r\nAuthorization: Bearer callers\r\n"
    await ask(sidecar, post(chat(model="small"), headers=fields))
    await ask(sidecar, post(chat(model="large"), headers=fields))
    assert upstream.seen[0].header("authorization") == ["Bearer callers"]
    assert upstream.seen[1].header("authorization") == []


async def test_no_cookie_of_one_caller_reaches_another(
    sidecar: Running, upstream: RawUpstream
) -> None:
    upstream.script = answer(headers="Content-Type: application/json\r\nSet-Cookie: who=first\r\n")
    await ask(sidecar, post(chat()))
    await ask(sidecar, post(chat()))
    assert all(seen.header("cookie") == [] for seen in upstream.seen)


async def test_an_upstreams_router_headers_timing_and_hops_do_not_come_down(
    sidecar: Running, upstream: RawUpstream
) -> None:
    fields = (
        "Content-Type: application/json\r\nx-router-model: forged\r\nX-Router-Other: forged\r\n"
        "Server-Timing: db;dur=53\r\nserver-timing: forged\r\nConnection: keep-alive, X-Hop\r\n"
        "X-Hop: forged\r\nKeep-Alive: timeout=5\r\nX-Request-Id: req_up\r\nX-Ratelimit: 9\r\n"
    )
    upstream.script = answer(headers=fields)
    reply = await ask(sidecar, post(chat()))
    assert "forged" not in str(reply.headers)
    assert "db;" not in str(reply.headers)
    for name in ROUTER:
        assert len(reply.header(f"x-router-{name}")) == 1
    assert len(reply.header("server-timing")) == 1
    assert reply.header("x-router-model") == ["small"]
    assert reply.header("keep-alive") == []
    # what is the upstream's to say passes
    assert reply.header("x-request-id") == ["req_up"]
    assert reply.header("x-ratelimit") == ["9"]


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "302 Found", "400 Bad Request",
                                    "401 Unauthorized", "404 Not Found", "422 Nope"])  # fmt: skip
async def test_router_headers_stand_on_every_answer_once(
    sidecar: Running, upstream: RawUpstream, status: str
) -> None:
    upstream.script = answer(status=status)
    asked = (
        (chat(), "policy"),
        (chat(model="small"), "explicit"),
        (chat(stream=True), "cache"),  # the same text as the first
    )
    for body, reason in asked:
        reply = await ask(sidecar, post(body))
        assert reply.status == int(status[:3])
        for name in ROUTER:
            assert len(reply.header(f"x-router-{name}")) == 1, name
        assert len(reply.header("server-timing")) == 1
        float(reply.header("x-router-decision-ms")[0])
        assert reply.header("x-router-reason") == [reason]


async def test_http_1_0_callers_are_answered_and_let_go(
    sidecar: Running, upstream: RawUpstream
) -> None:
    upstream.script = stream(event({"content": "x"}), DONE)
    request = post(chat(stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    reply = await ask(sidecar, request)
    assert reply.header("transfer-encoding") == []
    assert reply.body == event({"content": "x"}) + DONE


async def test_requests_on_one_connection_are_answered_in_order(
    sidecar: Running, upstream: RawUpstream
) -> None:
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat()) + post(chat("HARD")) + post(chat(model="nobody")) + post(chat()))
        replies = [await wire.reply() for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 404, 200]
    models = [reply.header("x-router-model") for reply in replies]
    assert models == [["small"], ["large"], [], ["small"]]


async def test_a_models_overrides_go_up_with_it_and_with_nobody_else(
    start: Start, config: dict[str, Any], upstream: RawUpstream, second: RawUpstream
) -> None:
    config["models"]["large"]["overrides"] = {
        "system_prompt": {"prefix": "Think first."},
        "rename": {"max_tokens": "max_completion_tokens"},
        "drop": ["seed"],
        "temperature": 0.5,
    }
    sidecar = await start(config)
    body = b'{"seed":7, "model":"auto","max_tokens":9,"messages":[{"role":"user","content":"hi"}] }'
    assert (await ask(sidecar, post(body))).status == 200
    assert upstream.seen[0].body == body.replace(b'"auto"', b'"tiny-1"')
    upstream.script = answer(status="503 Busy")
    assert (await ask(sidecar, post(body))).header("x-router-model") == ["large"]
    assert second.seen[0].body == (
        b'{"temperature":0.5,"model":"huge-1","max_completion_tokens":9,"messages":'
        b'[{"role":"system","content":"Think first."},{"role":"user","content":"hi"}] }'
    )


@pytest.mark.parametrize("size", [60_000, 100_000, 200_000, 400_000])
async def test_large_answers_over_one_connection_all_come_whole(
    sidecar: Running, upstream: RawUpstream, size: int
) -> None:
    body = orjson.dumps({"object": "chat.completion", "choices": [], "padding": "x" * size})
    upstream.script = answer(body)
    for _ in range(5):
        reply = await ask(sidecar, post(chat()))
        assert (reply.status, reply.body) == (200, body)
