"""What a failing upstream does, before content: the next candidate answers, unnoticed."""

from __future__ import annotations

import asyncio
import socket
import time
from email.utils import formatdate
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
    Script,
    Seen,
    answer,
    chunk,
    event,
    raw,
    stream,
)
from tests.support.wire import Reply, chat, exchange, post

GOOD = event({"content": "good"}) + DONE
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ROLE = event({"role": "assistant"})


def reset(*before: bytes) -> Script:
    """Some bytes and then a reset, as of a process that was killed."""

    async def play(seen: Seen, writer: asyncio.StreamWriter) -> None:
        for part in before:
            writer.write(part)
            await asyncio.sleep(0.02)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    return play


def closed_port() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}/v1"


async def ask(sidecar: Running, **fields: Any) -> Reply:
    return await exchange(sidecar.app.listen, post(chat(**fields)))


@pytest.fixture
def config(upstream: RawUpstream, second: RawUpstream) -> dict[str, object]:
    config = config_for(upstream.url, second.url)
    for name in ("local", "other"):
        timeouts = {"connect_s": 2.0, "first_content_s": 0.4, "idle_s": 0.4}
        config["upstreams"][name]["timeouts"] = timeouts  # type: ignore[index]
    return config


# each of these, of any request, is no answer
ALWAYS: dict[str, Script] = {
    "reset before the head": reset(),
    "reset in the head": reset(b"HTTP/1.1 200 OK\r\nContent-"),
    "reset after the head": reset(JSON_HEAD + b"Content-Length: 100\r\n\r\n"),
    "closed before the head": raw(b""),
    "closed in the head": raw(b"HTTP/1.1 200"),
    "silence": raw(30.0),
    "silence after the head": raw(JSON_HEAD + b"Content-Length: 100\r\n\r\n", 30.0),
    "408": answer(b"{}", "408 Request Timeout"),
    "429": answer(b"{}", "429 Too Many Requests"),
    "500": answer(b"{}", "500 Internal Server Error"),
    "502 in HTML": answer(b"<html>", "502 Bad Gateway", "Content-Type: text/html\r\n"),
    "503": answer(b"", "503 Service Unavailable"),
    "504": answer(b"{}", "504 Gateway Timeout"),
    "529": answer(b"{}", "529 Overloaded"),
    "not HTTP": raw(b"\x15\x03\x01\x00\x02\x02\x16 garbage\r\n\r\n"),
    "a status of no number": raw(b"HTTP/1.1 abc OK\r\n\r\n"),
    "a head without end": raw(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000),
    "two lengths": raw(JSON_HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}"),
    "an empty body": answer(b""),
    "no content": answer(b"", "204 No Content"),
    "an error with status 200": answer(b'{ "error": {"message": "overloaded", "code": 502}}'),
    "an error of Anthropic's with status 200": answer(b'{"type":"error","error":{}}'),
}
HALF = orjson.dumps(ANSWER)[:-9]
CHUNKED = JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
UNSTREAMED: dict[str, Script] = {
    "garbage": answer(b"<html>busy</html>"),
    "a JSON array": answer(b"[]"),
    "half a JSON object": answer(HALF),
    "shorter than its length": raw(JSON_HEAD + b"Content-Length: 900\r\n\r\n" + HALF),
    "cut in its chunks": raw(CHUNKED + b"9\r\n{"),
    "chunks that are none": raw(CHUNKED + b"zz\r\n{}\r\n"),
}
STREAMED: dict[str, Script] = {
    "an empty stream": stream(),
    "only DONE": stream(DONE),
    "only a role": stream(ROLE, DONE),
    "only comments": stream(b": hi\n\n", b": hi\n\n"),
    "garbage": stream(b"hello\n\nworld\n\n"),
    "half a frame": raw(STREAM_HEAD, chunk(ROLE), chunk(event({"content": "x"})[:-9])),
    "cut before content": raw(STREAM_HEAD, chunk(ROLE)),
    "reset before content": reset(STREAM_HEAD, chunk(ROLE)),
    "keep-alives and then silence": raw(STREAM_HEAD, chunk(b": ka\n\n"), chunk(ROLE), 30.0),
    "keep-alives for ever": raw(STREAM_HEAD, *[chunk(b": ka\n\n"), 0.05] * 100),
    "empty chunks for ever": raw(STREAM_HEAD, *[chunk(b'data: {"choices":[]}\n\n'), 0.05] * 100),
    "an error first": stream(b'data: {"error":{"message":"overloaded"}}\n\n', DONE),
    "an error after the role": stream(ROLE, b'data: {"error":{"message":"overloaded"}}\n\n'),
}
BEFORE = [
    pytest.param(script, streamed, id=f"{'streamed' if streamed else 'plain'} {name}")
    for streamed, only in ((False, UNSTREAMED), (True, STREAMED))
    for name, script in {**ALWAYS, **only}.items()
]


@pytest.mark.parametrize(("script", "streamed"), BEFORE)
async def test_before_content_the_next_candidate_answers_unnoticed(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream,
    script: Script, streamed: bool,
) -> None:  # fmt: skip
    upstream.script = script
    second.script = stream(GOOD) if streamed else answer()
    reply = await ask(await start(config), stream=streamed)
    assert (reply.status, reply.whole) == (200, True)
    assert reply.body == (GOOD if streamed else orjson.dumps(ANSWER))
    assert reply.header("x-router-model") == ["large"]
    assert reply.header("x-router-reason") == ["fallback:1"]
    assert len(second.seen) == 1
    assert second.seen[0].json["model"] == "huge-1"


async def test_after_an_error_in_place_of_content_nothing_more_is_waited_for(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream
) -> None:
    config["upstreams"]["local"]["timeouts"] = {"first_content_s": 3600}  # type: ignore[index]
    fault = b'data: {"error":{"message":"overloaded"}}\n\n'
    upstream.script = raw(STREAM_HEAD, chunk(ROLE), chunk(fault), 3600.0)
    second.script = stream(GOOD)
    reply = await ask(await start(config), stream=True)
    assert (reply.body, reply.header("x-router-reason")) == (GOOD, ["fallback:1"])


async def test_a_refused_connection_leads_to_the_next_candidate(
    start: Start, second: RawUpstream
) -> None:
    reply = await ask(await start(config_for(closed_port(), second.url)))
    assert (reply.status, reply.header("x-router-reason")) == (200, ["fallback:1"])


PASSED = ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent", "304 Not Modified",
          "400 Bad Request", "401 Unauthorized", "402 Pay", "403 Forbidden", "404 Not Found",
          "409 Conflict", "413 Too Large", "422 Unprocessable", "451 Law"]  # fmt: skip


@pytest.mark.parametrize("status", PASSED)
@pytest.mark.parametrize("streamed", [False, True])
async def test_any_other_3xx_and_4xx_passes_unchanged_and_is_neither_retried_nor_followed(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream,
    status: str, streamed: bool,
) -> None:  # fmt: skip
    fields = f"Content-Type: application/json\r\nLocation: {second.url}/chat/completions\r\n"
    body = b"" if status.startswith("304") else b'{"error":{"message":"no"}} '
    upstream.script = answer(body, status, fields)
    reply = await ask(await start(config), stream=streamed)
    assert (reply.status, reply.body, reply.whole) == (int(status[:3]), body, True)
    assert reply.header("location") == [f"{second.url}/chat/completions"]
    assert reply.header("x-router-model") == ["small"]
    assert len(upstream.seen) == 1
    assert second.seen == []


async def test_a_4xx_that_comes_as_a_stream_passes_too(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream
) -> None:
    body = b'data: {"error":{"message":"your fault"}}\n\n'
    upstream.script = answer(body, "400 Bad Request", "Content-Type: text/event-stream\r\n")
    reply = await ask(await start(config), stream=True)
    assert (reply.status, reply.body) == (400, body)
    assert second.seen == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_when_all_fail_the_last_upstreams_own_error_is_the_answer(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream,
    streamed: bool,
) -> None:  # fmt: skip
    upstream.script = answer(b'{"error":"first"}', "500 Internal Server Error")
    fields = "Content-Type: application/json\r\nRetry-After: 7\r\n"
    second.script = answer(b'{"error": "last" }', "429 Too Many Requests", fields)
    reply = await ask(await start(config), stream=streamed)
    assert (reply.status, reply.body) == (429, b'{"error": "last" }')
    assert reply.header("retry-after") == ["7"]
    assert reply.header("x-router-model") == ["large"]
    assert reply.header("x-router-reason") == ["fallback:1"]
    # and an upstream that then says nothing does not hide what the other said
    second.script = reset()
    sidecar = await start(config)
    reply = await ask(sidecar, stream=streamed)
    assert (reply.status, reply.body) == (500, b'{"error":"first"}')
    # and both were asked, whoever's error it is
    counted = sidecar.app.runtime.telemetry.exposition().decode()
    assert 'router_attempts_failed_total{model="large"} 1.0' in counted


async def test_an_error_with_status_200_is_passed_on_where_nobody_answers_and_not_kept(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream
) -> None:
    config["routes"]["auto"]["response_cache"] = {"sampled": True}  # type: ignore[index]
    config["budgets"] = {"all": {"per": "all", "period": "day", "usd": 1.0}}
    upstream.script = second.script = answer(b'{"error":{"message":"overloaded"}}')
    sidecar = await start(config)
    for _ in range(2):
        reply = await ask(sidecar)
        assert (reply.status, reply.body) == (200, b'{"error":{"message":"overloaded"}}')
        assert reply.header("x-router-reason") == ["fallback:1"]
    assert len(second.seen) == 2  # the second was no kept answer
    books = sidecar.app.runtime.budgets
    assert books is not None
    assert books.table()[0]["subjects"] == []  # and cost nothing


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        (reset(), 502, "upstream_broken"),
        (answer(b"garbage"), 502, "upstream_broken"),
        (raw(30.0), 504, "upstream_timeout"),
    ],
)
async def test_when_none_says_anything_the_error_is_ours(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream,
    script: Script, status: int, code: str,
) -> None:  # fmt: skip
    upstream.script = second.script = script
    reply = await ask(await start(config))
    error = reply.json["error"]
    assert (reply.status, error["code"]) == (status, code)
    assert error["type"] == "upstream_error"
    assert reply.header("x-router-request-id") == [error["request_id"]]
    # it went a way, and says which, as every answer to a route does
    assert reply.header("x-router-model") in (["small"], ["large"])
    assert reply.header("x-router-route") == ["auto"]
    assert len(reply.header("x-router-reason")) == 1
    assert len(reply.header("x-router-decision-ms")) == len(reply.header("Server-Timing")) == 1
    # a fresh connection that is reset has carried the question: asking again could charge twice
    assert len(upstream.seen) == len(second.seen) == 1


async def test_an_unreachable_upstream_of_a_named_model_is_a_502_that_shows_no_url(
    start: Start,
) -> None:
    url = closed_port()
    reply = await ask(await start(config_for(url)), model="small")
    assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_unreachable")
    assert url.split("/")[2] not in reply.body.decode()


async def test_a_named_model_has_no_fallback(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream
) -> None:
    upstream.script = answer(b'{"error":"busy"}', "503 Service Unavailable")
    reply = await ask(await start(config), model="small")
    assert (reply.status, reply.body) == (503, b'{"error":"busy"}')
    assert reply.header("x-router-reason") == ["explicit"]
    assert second.seen == []


async def test_a_fallback_never_lacks_what_the_request_needs(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream
) -> None:
    second.script = answer(b'{"error":"busy"}', "503 Service Unavailable")
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    body = {"model": "auto", "messages": [{"role": "user", "content": [picture]}]}
    reply = await exchange((await start(config)).app.listen, post(body))
    assert (reply.status, reply.header("x-router-model")) == (503, ["large"])
    assert upstream.seen == []  # small cannot see


async def test_a_connection_that_the_server_closed_is_met_with_one_more_try(
    start: Start, upstream: RawUpstream
) -> None:
    sidecar = await start(config_for(upstream.url))
    assert (await ask(sidecar, model="small")).status == 200
    played = iter([raw(b""), answer()])  # closed under the request, and then not

    async def play(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await next(played)(seen, writer)

    upstream.script = play
    reply = await ask(sidecar, model="small")
    assert (reply.status, reply.header("x-router-reason")) == (200, ["explicit"])
    assert len(upstream.seen) == 3
    assert upstream.seen[1].body == upstream.seen[2].body


async def test_no_second_try_once_a_byte_of_an_answer_came(
    start: Start, upstream: RawUpstream
) -> None:
    sidecar = await start(config_for(upstream.url))
    assert (await ask(sidecar, model="small")).status == 200
    upstream.script = raw(b"HTTP/1.1 2")
    reply = await ask(sidecar, model="small")
    assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_broken")
    assert len(upstream.seen) == 2


async def test_a_server_that_always_closes_is_not_tried_for_ever(
    start: Start, upstream: RawUpstream
) -> None:
    sidecar = await start(config_for(upstream.url))
    upstream.script = raw(b"")
    reply = await ask(sidecar, model="small")
    assert reply.status == 502
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("wait", [None, "0", "1", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"])
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_a_busy_upstream_is_passed_over_whatever_it_says_of_when(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream,
    status: str, wait: str | None,
) -> None:  # fmt: skip
    sidecar = await start(config)
    fields = "" if wait is None else f"Retry-After: {wait}\r\n"
    upstream.script = answer(b"{}", status, f"Content-Type: application/json\r\n{fields}")
    for _ in range(2):
        reply = await ask(sidecar)
        assert (reply.status, reply.header("x-router-reason")) == (200, ["fallback:1"])
    # only one that names a time is left alone for it
    assert len(upstream.seen) == (1 if wait == "1" else 2)


async def test_a_busy_upstream_whose_wait_is_no_number_fails_as_any_other(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream
) -> None:
    sidecar = await start(config)
    # a digit to Python's `isdigit`, and no number to its `float`
    head = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: \xb2\r\nContent-Length: 2\r\n\r\n{}"
    upstream.script = raw(head, close=False)
    for _ in range(2):
        reply = await ask(sidecar)
        assert (reply.status, reply.header("x-router-reason")) == (200, ["fallback:1"])
    assert len(upstream.seen) == 2


async def test_a_date_to_come_again_is_heeded(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream
) -> None:
    sidecar = await start(config)
    until = formatdate(time.time() + 30, usegmt=True)
    upstream.script = answer(b"{}", "503 Service Unavailable", f"Retry-After: {until}\r\n")
    for _ in range(2):
        assert (await ask(sidecar)).header("x-router-reason") == ["fallback:1"]
    assert len(upstream.seen) == 1


TRICKLED = {
    "an answer": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n"
        b'{"choices":[]}',
        b'{"choices":[]}',
    ),
    "a stream": (STREAM_HEAD + chunk(GOOD) + LAST_CHUNK, GOOD),
}


@pytest.mark.parametrize("what", TRICKLED)
async def test_an_answer_a_byte_at_a_time_is_an_answer_while_it_comes(
    start: Start, upstream: RawUpstream, what: str
) -> None:
    sent, wanted = TRICKLED[what]
    pieces = [part for i in range(len(sent)) for part in (sent[i : i + 1], 0.002)]
    upstream.script = raw(*pieces, close=False)
    reply = await ask(
        await start(config_for(upstream.url)), model="small", stream=what == "a stream"
    )
    assert (reply.status, reply.body, reply.whole) == (200, wanted, True)


async def test_what_comes_beyond_an_answers_length_reaches_nobody(
    start: Start, upstream: RawUpstream
) -> None:
    sidecar = await start(config_for(upstream.url))
    forged = b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"no":true}'
    beyond = (b"{}" * 20, forged, b"\r\n\r\n", b"x" * 100_000)
    for extra in beyond:
        upstream.script = raw(JSON_HEAD + b"Content-Length: 2\r\n\r\n{}" + extra, close=False)
        reply = await ask(sidecar, model="small")
        # one client takes what was declared, the other a fault for what it is
        assert reply.whole
        assert reply.status == 502 or (reply.status, reply.body) == (200, b"{}")
        upstream.script = answer()
        reply = await ask(sidecar, model="small")  # not over what the first has left
        assert (reply.status, reply.json) == (200, ANSWER)


async def test_what_failed_leaves_no_connection_behind(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream
) -> None:
    sidecar = await start(config)
    upstream.script = raw(STREAM_HEAD, chunk(b": ka\n\n"), 30.0)
    second.script = stream(GOOD)
    await ask(sidecar, stream=True)
    async with asyncio.timeout(10):
        await upstream.gone.wait()  # the one that stalled was told to stop
