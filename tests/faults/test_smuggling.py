"""Requests that two readers could read in two ways: refused, or read as the standard says.

Each is followed, in the same bytes, by a request that only a reader who lost its
place would answer. Refused means: JSON where the parser lets it, no upstream
asked, the connection closed, and nothing of the request in any log.
"""

# tables of bad input are read row by row

from __future__ import annotations

import asyncio

import orjson
import pytest

from tests.conftest import Running, Start, config_for
from tests.support.raw_upstream import RawUpstream
from tests.support.wire import Reply, Wire, chat, post

MARK = "SMUGGLED"
BODY = orjson.dumps(chat(MARK))
START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
TE = b"Transfer-Encoding: "
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
NEXT = b"GET /v1/models HTTP/1.1\r\nHost: smuggled\r\n\r\n"


def length(value: bytes) -> bytes:
    return START + b"Content-Length: " + value + b"\r\n\r\n" + BODY


def coded(value: bytes) -> bytes:
    return START + TE + value + b"\r\n\r\n" + CHUNKS


def line(value: bytes) -> bytes:
    """A request that is well but for one line, line end and all, among its headers."""
    return START + value + LENGTH + b"\r\n" + BODY


def chunked(chunks: bytes) -> bytes:
    return START + TE + b"chunked\r\n\r\n" + chunks


def to(target: bytes) -> bytes:
    return line(b"").replace(b"/v1/chat/completions", target, 1)


def version(value: bytes) -> bytes:
    return line(b"").replace(b"HTTP/1.1", value, 1)


REFUSED: dict[str, bytes] = {
    "one length, twice": START + LENGTH + LENGTH + b"\r\n" + BODY,
    "two lengths": START + b"Content-Length: 1\r\n" + LENGTH + b"\r\n" + BODY,
    "a list of lengths": length(b"%d, %d" % (len(BODY), len(BODY))),
    "a signed length": length(b"+%d" % len(BODY)),
    "a negative length": length(b"-1"),
    "a length in hex": length(b"0x40"),
    "a length in two parts": length(b"1 0"),
    "an empty length": length(b""),
    "a length beyond 64 bits": length(b"9" * 24),
    "a length, then chunks": START + LENGTH + TE + b"chunked\r\n\r\n" + CHUNKS,
    "chunks, then a length": START + TE + b"chunked\r\n" + LENGTH + b"\r\n" + CHUNKS,
    "chunked, then identity": coded(b"chunked, identity"),
    "identity": coded(b"identity"),
    "gzip, then chunked": coded(b"gzip, chunked"),
    "gzip alone": coded(b"gzip"),
    "xchunked": coded(b"xchunked"),
    "chunkedx": coded(b"chunkedx"),
    "chunked with a parameter": coded(b"chunked;x=1"),
    "chunked with a comma": coded(b"chunked,"),
    "chunked in quotes": coded(b'"chunked"'),
    "chunked after a vertical tab": coded(b"\x0bchunked"),
    "no coding": coded(b""),
    "chunked, chunked": coded(b"chunked, chunked"),
    "two codings": coded(b"chunked\r\nTransfer-Encoding: identity"),
    "chunked in two headers": coded(b"chunked\r\nTransfer-Encoding: chunked"),
    "a space before the colon": START + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
    "chunks in HTTP/1.0": coded(b"chunked").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a folded header": line(b"X-Note: one\r\n two\r\n"),
    "a folded coding": coded(b"\r\n chunked"),
    "a space before the first header": line(b"").replace(b"Host", b" Host", 1),
    "line feeds alone": line(b"").replace(b"\r\n", b"\n"),
    "one line feed alone": line(b"X-Note: y\n"),
    "an end of line feeds": line(b"").replace(b"\r\n\r\n", b"\n\n", 1),
    "a carriage return in a value": line(b"X-Note: y\rContent-Length: 3\r\n"),
    "a carriage return as line end": line(b"X-Note: y\r"),
    "a NUL in a value": line(b"X-Note: a\0b\r\n"),
    "a NUL in a name": line(b"X-No\0te: a\r\n"),
    "a control in a value": line(b"X-Note: a\x01b\r\n"),
    "a delete in a value": line(b"X-Note: a\x7fb\r\n"),
    "a space in a name": line(b"X Note: a\r\n"),
    "an empty name": line(b": a\r\n"),
    "a name that is no token": line(b"X(Note: a\r\n"),
    "a name beyond ASCII": line(b"X-\xff: a\r\n"),
    "two hosts": line(b"Host: y\r\n"),
    "no host": line(b"").replace(b"Host: x\r\n", b""),
    "a target without a slash": to(b"v1/chat/completions"),
    "an authority as target": to(b"other.test:80"),
    "an asterisk as target": to(b"*"),
    "an absolute target with no such port": to(b"http://other.test:99999/v1/chat/completions"),
    "an absolute target with half an address": to(b"http://[::1/v1/chat/completions"),
    "a target of bytes beyond ASCII": to(b"/v1/chat/completions?a=\xff"),
    "a tab in the target": to(b"/v1/chat/completions?a=\tb"),
    "HTTP/0.9": b"GET /v1/models\r\n\r\n",
    "HTTP/1.2": version(b"HTTP/1.2"),
    "HTTP/1.10": version(b"HTTP/1.10"),
    "HTTP/2.0": version(b"HTTP/2.0"),
    "http in small letters": version(b"http/1.1"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method that is none": line(b"").replace(b"POST", b"FROB", 1),
    "a method in small letters": line(b"").replace(b"POST", b"post", 1),
    "a space before the method": b" " + line(b""),
    "a chunk's length in two bases": chunked(b"0x" + CHUNKS),
    "a negative chunk": chunked(b"-5\r\n" + CHUNKS),
    "a space after a chunk's length": chunked(b"%x \r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "a chunk beyond 64 bits": chunked(b"f" * 17 + b"\r\n" + BODY),
    "a chunk longer than its length": chunked(b"5\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunks with line feeds": chunked(CHUNKS.replace(b"\r\n", b"\n")),
    "a line feed in a chunk's extension": chunked(CHUNKS.replace(b"\r\n", b";a\nb\r\n", 1)),
}  # fmt: skip


@pytest.fixture
async def sidecar(start: Start, upstream: RawUpstream) -> Running:
    return await start(config_for(upstream.url))


async def answers(sidecar: Running, sent: bytes) -> list[Reply]:
    """All that comes back for ``sent`` on one connection, up to its close."""
    replies: list[Reply] = []
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(sent)
        while not (replies and replies[-1].last):
            replies.append(await wire.reply())
        assert await wire.closed()
    return replies


@pytest.mark.parametrize("name", REFUSED)
async def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_closed(
    sidecar: Running,
    upstream: RawUpstream,
    name: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (reply,) = await answers(sidecar, REFUSED[name] + NEXT)
    assert (reply.status, reply.version) == (400, "HTTP/1.1")
    assert reply.json["error"]["code"] == "invalid_http"
    assert reply.header("x-router-request-id") == [reply.json["error"]["request_id"]]
    assert not reply.header("server")
    assert upstream.seen == []
    said = "".join(capfd.readouterr()) + caplog.text
    assert MARK not in said
    assert "ERROR" not in said
    scrape = sidecar.app.runtime.telemetry.exposition().decode()
    assert 'router_refused_total{code="invalid_http",status="400"} 1.0' in scrape


LAST = NEXT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
READ: dict[str, bytes] = {
    "chunks": coded(b"chunked"),
    "chunks, in large letters": coded(b"Chunked"),
    "chunks, after a tab": coded(b"\tchunked"),
    "chunks with an extension": chunked(CHUNKS.replace(b"\r\n", b";name=value\r\n", 1)),
    "many chunks": chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"),
    "a trailer": chunked(CHUNKS[:-2] + b"X-Sum: 1\r\n\r\n"),
    "an absolute target": to(b"http://other.test/v1/chat/completions"),
    "an absolute target with a user": to(b"http://u:p@other.test/v1/chat/completions"),
    "an absolute target of an odd name": to(b"http://xn--zzzzzzz-/v1/chat/completions"),
    "another absolute scheme": to(b"ftp://other.test/v1/chat/completions"),
    "blank lines before it": b"\r\n\r\n" + line(b""),
    "bytes beyond ASCII in a value": line(b"X-Note: \xff\r\n"),
}


@pytest.mark.parametrize("name", READ)
async def test_what_is_well_formed_is_answered_once_and_so_is_what_follows(
    sidecar: Running, upstream: RawUpstream, name: str
) -> None:
    first, second = await answers(sidecar, READ[name] + LAST)
    assert (first.status, second.status) == (200, 200)
    assert second.json["object"] == "list"
    (seen,) = upstream.seen
    assert seen.line == "POST /v1/chat/completions HTTP/1.1"
    assert orjson.loads(seen.body)["messages"] == [{"role": "user", "content": MARK}]
    assert seen.header("content-length") == [str(len(seen.body))]
    assert seen.header("host") == [upstream.url.split("/")[2]]
    for name in ("transfer-encoding", "x-sum", "trailer"):
        assert not seen.header(name)


async def test_pipelined_requests_are_answered_in_their_order(
    sidecar: Running, upstream: RawUpstream
) -> None:
    asked = [post(chat(str(i), model="small")) for i in range(5)]
    replies = await answers(sidecar, b"".join(asked) + LAST)
    assert [reply.status for reply in replies] == [200] * 6
    said = [seen.json["messages"] for seen in upstream.seen]
    assert said == [[{"role": "user", "content": str(i)}] for i in range(5)]


UPGRADES = {
    "h2c": line(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"),
    "websocket": line(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n"),
}


@pytest.mark.parametrize("name", UPGRADES)
async def test_an_upgrade_is_declined_and_what_follows_is_not_read(
    sidecar: Running, upstream: RawUpstream, name: str
) -> None:
    (reply,) = await answers(sidecar, UPGRADES[name] + line(b"") + LAST)
    assert reply.status == 200  # the request itself, answered in HTTP/1.1
    (seen,) = upstream.seen
    for header in ("upgrade", "http2-settings", "connection"):
        assert not seen.header(header)


async def test_a_tunnel_is_not_opened_and_what_would_go_through_it_not_read(
    sidecar: Running, upstream: RawUpstream
) -> None:
    tunnel = b"CONNECT other.test:443 HTTP/1.1\r\nHost: other.test\r\n\r\n"
    (reply,) = await answers(sidecar, tunnel + line(b"") + LAST)
    assert reply.status == 404
    assert upstream.seen == []


async def test_a_request_of_http_1_0_is_answered_and_the_connection_closed(
    sidecar: Running, upstream: RawUpstream
) -> None:
    old = line(b"Expect: 100-continue\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    (reply,) = await answers(sidecar, old)
    assert (reply.status, reply.whole) == (200, True)  # and no 100, of which 1.0 knows nothing
    assert len(upstream.seen) == 1


async def test_another_expectation_than_to_go_on_is_refused(
    sidecar: Running, upstream: RawUpstream
) -> None:
    head, _body = line(b"Expect: a-miracle\r\n").split(b"\r\n\r\n")
    (reply,) = await answers(sidecar, head + b"\r\n\r\n")  # as a caller who waits for the word
    assert (reply.status, reply.json["error"]["code"]) == (417, "expectation_failed")
    assert upstream.seen == []


async def test_an_answer_to_head_has_no_body_that_would_pass_for_the_next_answer(
    sidecar: Running,
) -> None:
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(line(b"").replace(b"POST", b"HEAD", 1) + LAST)
        assert (await wire.head()).status == 405
        assert (await wire.reply()).json["object"] == "list"


async def test_a_path_in_another_spelling_is_another_path(
    sidecar: Running, upstream: RawUpstream
) -> None:
    spellings = (b"/v1/chat%2fcompletions", b"/v1/../v1/chat/completions", b"//v1/chat/completions")
    for path in spellings:
        async with await Wire.to(sidecar.app.listen) as wire:
            wire.send(to(path))
            assert (await wire.reply()).status == 404
    await asyncio.sleep(0)
    assert upstream.seen == []
