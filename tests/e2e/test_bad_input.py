"""Bad input: a sentence in OpenAI's shape, no upstream asked, and the next request works."""

# ruff: noqa: E501  # tables of bad input are read row by row

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.conftest import Running, Start
from tests.support.raw_upstream import RawUpstream
from tests.support.wire import Reply, Wire, chat, post

USER = {"role": "user", "content": "hi"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}


def said(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": list(messages), **fields}


def user(content: Any) -> dict[str, Any]:
    return said({"role": "user", "content": content})


DEEP = b"[" * 50_000 + b"]" * 50_000
HINTED = "Content-Type: application/json\r\n"
# what is sent, the status it gets, and a word its sentence must have
BAD: dict[str, tuple[bytes, int, str]] = {
    "malformed JSON": (post(b'{"model": "auto", "messages": ['), 400, "JSON"),
    "a trailing comma": (post(b'{"model":"auto","messages":[],}'), 400, "JSON"),
    "a JSON array": (post(b"[1]"), 400, "array"),
    "a JSON string": (post(b'"hi"'), 400, "string"),
    "a JSON null": (post(b"null"), 400, "null"),
    "two JSON objects": (post(b"{}{}"), 400, "JSON"),
    "an empty body": (post(b""), 400, "empty"),
    "an empty object": (post(b"{}"), 400, "`model`"),
    "a body of white space": (post(b" \r\n "), 400, "empty"),
    "no messages": (post({"model": "auto"}), 400, "`messages`"),
    "an empty list of messages": (post(said()), 400, "`messages`"),
    "messages of the wrong type": (post({"model": "auto", "messages": "hi"}), 400, "`messages`"),
    "messages as an object": (post({"model": "auto", "messages": USER}), 400, "`messages`"),
    "a message of the wrong type": (post(said("hi")), 400, "messages[0]"),
    "a null message": (post(said(USER, None)), 400, "messages[1]"),
    "a message without a role": (post(said({"content": "hi"})), 400, "role"),
    "a role of the wrong type": (post(said({"role": 1, "content": "hi"})), 400, "role"),
    "a model of the wrong type": (post({"model": 7, "messages": [USER]}), 400, "`model`"),
    "a null model": (post({"model": None, "messages": [USER]}), 400, "`model`"),
    "an empty model": (post({"model": "", "messages": [USER]}), 400, "`model`"),
    "a stream of the wrong type": (post(said(USER, stream="yes")), 400, "`stream`"),
    "a temperature of the wrong type": (post(said(USER, temperature="hot")), 400, "`temperature`"),
    "max_tokens of the wrong type": (post(said(USER, max_tokens="many")), 400, "`max_tokens`"),
    "tools of the wrong type": (post(said(USER, tools={"f": 1})), 400, "`tools`"),
    "a tool of the wrong type": (post(said(USER, tools=["f"])), 400, "tools[0]"),
    "a response format of the wrong type": (
        post(said(USER, response_format="json")), 400, "`response_format`",
    ),
    "null content": (post(user(None)), 400, "content"),
    "missing content": (post(said({"role": "user"})), 400, "content"),
    "content of the wrong type": (post(user(3)), 400, "content"),
    "a content part of the wrong type": (post(user(["hi"])), 400, "content[0]"),
    "a content part without a type": (post(user([{"text": "hi"}])), 400, "content[0].type"),
    "a text part without text": (post(user([{"type": "text"}])), 400, "content[0].text"),
    "invalid UTF-8": (post(b'{"model":"auto","messages":[{"role":"user","content":"\xff"}]}'), 400, "UTF-8"),
    "UTF-16": (post('{"model":"auto"}'.encode("utf-16")), 400, "UTF-8"),
    "a surrogate in UTF-8": (post(b'{"model":"\xed\xa0\x80"}'), 400, "UTF-8"),
    "a NUL byte in a string": (post(b'{"model":"auto","messages":[{"role":"user","content":"\x00"}]}'), 400, "JSON"),
    "a NUL byte alone": (post(b"\x00"), 400, "JSON"),
    "NUL bytes": (post(b"\x00" * 1000), 400, "JSON"),
    "deep nesting": (post(b'{"model":"auto","messages":' + DEEP + b"}"), 400, "JSON"),
    "deep nesting elsewhere": (post(b'{"x":' + DEEP + b',"model":"auto","messages":[]}'), 400, "JSON"),
    "deep nesting and a lone surrogate": (post(b'{"x":"\\ud800","y":' + DEEP + b"}"), 400, "JSON"),
    "two models": (post(b'{"model":"auto","messages":[{"role":"user","content":"x"}],"model":"auto"}'), 400, "more than once"),
    "two models, one in other letters": (post(b'{"model":"small","\\u006dodel":"large","messages":[{"role":"user","content":"x"}]}'), 400, "more than once"),
    "a form": (post(b"model=auto", headers="Content-Type: application/x-www-form-urlencoded\r\n"), 400, "application/json"),
    "text": (post(chat(), headers="Content-Type: text/plain\r\n"), 400, "application/json"),
    "a multipart body": (post(chat(), headers="Content-Type: multipart/form-data; boundary=x\r\n"), 400, "application/json"),
    "an unknown model": (post(chat(model="gpt-9")), 404, "gpt-9"),
    "an unknown model of odd characters": (post(chat(model='"\n\x00😀')), 404, "auto"),
    "an unknown model that is half a character": (post(b'{"model":"\\ud800","messages":[{"role":"user","content":"x"}]}'), 404, "auto"),
    "a path nobody serves": (post(chat(), path="/v1/chat"), 404, "/v1/chat/completions"),
    "an unknown route option": (post(chat(), headers=HINTED + "x-router-qualty: 1\r\n"), 400, "x-router-quality"),
    "a route option that is no number": (post(chat(), headers=HINTED + "x-router-quality: high\r\n"), 400, "x-router-quality"),
    "a route option out of range": (post(chat(), headers=HINTED + "x-router-quality: 2\r\n"), 400, "x-router-quality"),
    "a negative cost": (post(chat(), headers=HINTED + "x-router-max-cost-usd: -1\r\n"), 400, "x-router-max-cost-usd"),
    "a cost that nothing meets": (post(chat(), headers=HINTED + "x-router-max-cost-usd: 0\r\n"), 400, "Raise"),
    "a session of no end": (post(chat(), headers=HINTED + f"x-router-session: {'s' * 300}\r\n"), 400, "x-router-session"),
    "vision of a model that has none": (post({**user([PICTURE]), "model": "small"}), 400, "vision"),
    "audio, which no model has": (post(user([{"type": "input_audio", "input_audio": {}}])), 400, "audio"),
    "more than any context": (post(chat("x" * 600_000)), 400, "room for"),
    "another method": (post(b"", method="GET"), 405, "POST"),
    "a delete": (post(b"", method="DELETE"), 405, "POST"),
    "a post to the models": (post(b"{}", path="/v1/models"), 405, "GET"),
    "a body that is not what its encoding says": (post(b"not gzip", headers=HINTED + "Content-Encoding: gzip\r\n"), 400, ""),
}  # fmt: skip


@pytest.fixture
async def sidecar(start: Start, config: dict[str, object]) -> Running:
    config["limits"] = {"max_body_mb": 1, "body_timeout_s": 0.3, "max_header_kb": 8}
    return await start(config)


def refused(reply: Reply, status: int, word: str) -> None:
    """In OpenAI's shape, with a request id and a sentence."""
    assert reply.status == status, reply.body
    assert reply.whole
    assert reply.header("content-type")[0].startswith("application/json")
    error = reply.json["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert word in error["message"]
    assert error["message"].endswith((".", "?"))
    assert reply.header("x-router-request-id") == [error["request_id"]]
    assert reply.header("x-request-id") == [error["request_id"]]


async def works(wire: Wire, upstream: RawUpstream) -> None:
    """The next request, on this connection, is answered by the upstream."""
    before = len(upstream.seen)
    wire.send(post(chat()))
    reply = await wire.reply()
    assert reply.status == 200
    assert len(upstream.seen) == before + 1


@pytest.mark.parametrize("name", BAD)
async def test_it_is_refused_and_the_next_request_on_the_connection_works(
    sidecar: Running, upstream: RawUpstream, second: RawUpstream, name: str
) -> None:
    request, status, word = BAD[name]
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(request)
        reply = await wire.reply()
        refused(reply, status, word)
        assert upstream.seen == second.seen == []
        if reply.last:
            assert await wire.closed()
        else:
            await works(wire, upstream)
    async with await Wire.to(sidecar.app.listen) as fresh:
        await works(fresh, upstream)


# What ends the connection: the rest of such a request cannot be told from the next one.
LARGE = post(b"x" * (1 << 20) + b"y")
CHUNKED = post(b"", headers=HINTED + "Transfer-Encoding: chunked\r\n").replace(
    b"Content-Length: 0\r\n", b"X-Note: 1\r\n"
)
ENDING: dict[str, tuple[bytes, int, str]] = {
    "a body over the limit, by its length": (LARGE.split(b"\r\n\r\n")[0] + b"\r\n\r\n", 413, "1 MB"),
    "a body over the limit, sent": (LARGE, 413, "1 MB"),
    "a chunked body over the limit": (CHUNKED + b"200000\r\n" + b"x" * 0x200000 + b"\r\n", 413, "1 MB"),
    "half a body and then nothing": (post(chat())[:-5], 408, "not complete"),
    "a head and then nothing": (post(chat()).split(b"\r\n\r\n")[0] + b"\r\n\r\n", 408, "not complete"),
    "half a chunk and then nothing": (CHUNKED + b"100\r\nabc", 408, "not complete"),
    "a header far too long": (post(chat(), headers=f"X-Long: {'x' * 100_000}\r\n"), 431, "too long"),
    "a path far too long": (post(chat(), path="/v1/" + "x" * 100_000), 431, "too long"),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "HTTP"),
    "a header that is none": (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400, "HTTP"),
    "a length that is no number": (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n", 400, "HTTP",
    ),
    "two lengths": (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400, "HTTP",
    ),
    "a length and chunks": (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "HTTP",
    ),
    "chunks that are none": (CHUNKED + b"not hex\r\n\r\n", 400, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDING)
async def test_it_is_refused_and_a_new_connection_works(
    sidecar: Running, upstream: RawUpstream, second: RawUpstream, name: str
) -> None:
    request, status, word = ENDING[name]
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(request)
        reply = await wire.reply()
        refused(reply, status, word)
        assert reply.last
        assert upstream.seen == second.seen == []
        assert await wire.closed()
    async with await Wire.to(sidecar.app.listen) as fresh:
        await works(fresh, upstream)


async def test_a_caller_who_sends_half_a_body_and_leaves_is_forgotten(
    sidecar: Running, upstream: RawUpstream
) -> None:
    for _ in range(5):
        async with await Wire.to(sidecar.app.listen) as wire:
            wire.send(post(chat())[:-5])
            await asyncio.sleep(0.02)
    async with await Wire.to(sidecar.app.listen) as fresh:
        await works(fresh, upstream)
    assert len(upstream.seen) == 1


async def test_a_body_at_the_limit_passes(sidecar: Running, second: RawUpstream) -> None:
    picture = {"type": "image_url", "image_url": {"url": ""}}
    body = orjson.dumps(user([picture]))
    picture["image_url"] = {"url": "x" * ((1 << 20) - len(body))}
    body = orjson.dumps(user([picture]))
    assert len(body) == 1 << 20
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(body))
        assert (await wire.reply()).status == 200
    assert len(second.seen) == 1


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json"]
)  # fmt: skip
async def test_json_by_any_of_its_names_is_json(sidecar: Running, kind: str) -> None:
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat(), headers=f"Content-Type: {kind}\r\n"))
        assert (await wire.reply()).status == 200
        wire.send(post(chat(), headers=""))
        assert (await wire.reply()).status == 200


async def test_a_caller_who_asks_whether_to_go_on_is_told_before_the_body(
    sidecar: Running, upstream: RawUpstream
) -> None:
    head, _, body = post(chat(), headers=HINTED + "Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(head + b"\r\n\r\n")
        assert (await wire.head()).status == 100
        wire.send(body)
        assert (await wire.reply()).status == 200
    assert upstream.seen[0].header("expect") == []


async def test_no_refusal_says_what_the_prompt_said(
    sidecar: Running, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for request in (
        post(said({"role": "user", "content": {"x": "MYSECRET"}})),
        post(b'{"model":"auto","messages":[{"role":"user","content":"MYSECRET'),
        post(user([{"type": "MYTYPE", "text": "MYSECRET"}])),
        b"MYSECRET\r\n\r\n",
        post(chat(), headers=f"X-Long: {'MYSECRET' * 10_000}\r\n"),
        b"POST /v1/chat/completions HTTP/1.1\r\nMYSECRET MYSECRET\r\n\r\n",
        CHUNKED + b"MYSECRET\r\n",
    ):
        async with await Wire.to(sidecar.app.listen) as wire:
            wire.send(request)
            assert b"MYSECRET" not in (await wire.reply()).body
    out, err = capfd.readouterr()
    assert "MYSECRET" not in out + err + caplog.text
