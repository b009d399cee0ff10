"""Callers who take their time or too much room: bounded, and told so where they can be.

Bounds are of the test's own config and far apart; nothing here measures a time.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import zlib

import orjson
import pytest

from tests.conftest import Running, Start, config_for
from tests.support.raw_upstream import RawUpstream
from tests.support.wire import Wire, chat, post

LINE = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
HALVES = {
    "a letter": b"P",
    "half a request line": b"POST /v1/ch",
    "half a head": LINE + b"X-Note: 1",
    "a head without its blank line": LINE,
}


@pytest.fixture
async def sidecar(start: Start, upstream: RawUpstream) -> Running:
    limits = {
        "header_timeout_s": 0.3,
        "body_timeout_s": 0.5,
        "keepalive_s": 60,
        "max_header_kb": 8,
        "max_body_mb": 1,
    }
    return await start({**config_for(upstream.url), "limits": limits})


async def works(wire: Wire) -> None:
    wire.send(post(chat(model="small")))
    assert (await wire.reply()).status == 200


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("used", [False, True])
async def test_a_head_that_does_not_end_ends_the_connection(
    sidecar: Running, upstream: RawUpstream, name: str, used: bool
) -> None:
    async with await Wire.to(sidecar.app.listen) as wire:
        if used:
            await works(wire)
        wire.send(HALVES[name])
        reply = await wire.reply()
        assert (reply.status, reply.last) == (408, True)
        assert reply.json["error"]["code"] == "request_timeout"
        assert await wire.closed()
    assert len(upstream.seen) == used


async def test_a_head_that_trickles_gets_no_more_time_for_it(sidecar: Running) -> None:
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(LINE)

        async def trickle() -> None:
            for number in range(1000):
                wire.send(b"X-%d: 1\r\n" % number)
                await asyncio.sleep(0.02)

        trickling = asyncio.ensure_future(trickle())
        assert (await wire.reply()).status == 408
        trickling.cancel()
        assert await wire.closed()


async def test_a_head_in_pieces_within_its_time_is_answered_and_idling_is_allowed(
    start: Start, upstream: RawUpstream
) -> None:
    slow = await start({**config_for(upstream.url), "limits": {"header_timeout_s": 20}})
    request = post(chat(model="small"))
    async with await Wire.to(slow.app.listen) as wire:
        for at in range(0, len(request), 16):
            wire.send(request[at : at + 16])
            await asyncio.sleep(0.005)
        assert (await wire.reply()).status == 200
        await works(wire)


async def test_an_idle_connection_is_not_taken_for_half_a_head(sidecar: Running) -> None:
    async with await Wire.to(sidecar.app.listen) as wire:
        await asyncio.sleep(0.6)  # nothing sent yet
        await works(wire)
        wire.send(b"\r\n")  # a blank line that some send after a body
        await asyncio.sleep(0.6)
        await works(wire)


async def test_a_body_that_trickles_is_given_up(sidecar: Running, upstream: RawUpstream) -> None:
    head, _, body = post(chat()).partition(b"\r\n\r\n")
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(head + b"\r\n\r\n")

        async def trickle() -> None:
            for byte in body:
                wire.send(bytes([byte]))
                await asyncio.sleep(0.1)

        trickling = asyncio.ensure_future(trickle())
        reply = await wire.reply()
        trickling.cancel()
        assert (reply.status, reply.last) == (408, True)
    assert upstream.seen == []


LARGE = {
    "too many headers": b"X: y\r\n" * 200,
    "headers too large together": b"".join(b"X-%d: %s\r\n" % (i, b"y" * 4000) for i in range(100)),
    "a header far too long": b"X-Long: %s\r\n" % (b"y" * 100_000),
    "a name far too long": b"X-%s: y\r\n" % (b"y" * 100_000),
    "a header without an end": b"X-Long: " + b"y" * 9_000,
}


@pytest.mark.parametrize("name", LARGE)
async def test_a_head_that_is_too_large_is_refused_before_it_is_whole(
    sidecar: Running, upstream: RawUpstream, name: str
) -> None:
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(LINE + LARGE[name])
        reply = await wire.reply()
        assert (reply.status, reply.last) == (431, True)
        assert reply.json["error"]["code"] == "headers_too_large"
    assert upstream.seen == []


async def test_a_length_beyond_all_bounds_is_refused_and_the_connection_closed(
    sidecar: Running, upstream: RawUpstream
) -> None:
    for length in (2**64 - 1, 2**64 - 2, 2**63, 1 << 21):
        async with await Wire.to(sidecar.app.listen) as wire:
            wire.send(LINE + b"Content-Length: %d\r\n\r\n{}" % length)
            reply = await wire.reply()
            assert (reply.status, reply.last) == (413, True)
    assert upstream.seen == []


async def test_a_body_that_grows_when_unpacked_is_refused_at_the_limit(
    sidecar: Running, upstream: RawUpstream
) -> None:
    bomb = gzip.compress(b'{"model":"auto","x":"' + b"x" * 200_000_000 + b'"}', 9)
    assert len(bomb) < 1 << 20
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(bomb, headers="Content-Encoding: gzip\r\n"))
        assert (await wire.reply()).status == 413
    assert upstream.seen == []


async def test_a_body_that_is_compressed_is_read(sidecar: Running, upstream: RawUpstream) -> None:
    body = orjson.dumps(chat(model="small"))
    for coding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        async with await Wire.to(sidecar.app.listen) as wire:
            wire.send(post(packed, headers=f"Content-Encoding: {coding}\r\n"))
            assert (await wire.reply()).status == 200
        assert upstream.seen[-1].json["messages"] == chat()["messages"]
        assert not upstream.seen[-1].header("content-encoding")


async def test_a_caller_cannot_fill_the_log(
    sidecar: Running, upstream: RawUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever one sends, the log has no line of it: counts are in the metrics."""
    caplog.set_level(logging.INFO)
    body = orjson.dumps(chat())
    for sent in (
        post(body, headers="Content-Encoding: gzip\r\n"),
        post(gzip.compress(body)[:-9] + b"x" * 9, headers="Content-Encoding: gzip\r\n"),
        post(body, headers="Content-Encoding: br\r\n"),
        post(b"\xff"),
        b"\x16\x03\x01\r\n\r\n",
        LINE + b"Content-Length: 9\r\n\r\n{",
        LINE + b"Content-Length: x\r\n\r\n",
        post(b"{}", headers="x-router-tenant: \xff\r\n"),
        post(b"{}", path="/v1/chat/completions?\xff"),
        post(b"{}", path="http://xn--zzzzzzz-/v1/models", method="GET"),
    ):
        for leave in (False, True):
            async with await Wire.to(sidecar.app.listen) as wire:
                wire.send(sent)
                if not leave:
                    assert (await wire.reply()).status in {200, 400, 405, 408}
                await asyncio.sleep(0.01)
    await asyncio.sleep(0.6)
    assert [record.getMessage() for record in caplog.records] == []
    assert upstream.seen == []


@pytest.mark.parametrize("fetched", ["cross-site", "same-site"])
async def test_a_web_page_of_another_site_is_refused(
    sidecar: Running, upstream: RawUpstream, fetched: str
) -> None:
    said = f"Origin: http://evil.test\r\nSec-Fetch-Site: {fetched}\r\nContent-Type: text/plain\r\n"
    for address, path in (
        (sidecar.app.listen, "/v1/chat/completions"),
        (sidecar.app.admin, "/admin/kill-switch"),
        (sidecar.app.admin, "/admin/reload"),
    ):
        async with await Wire.to(address) as wire:
            wire.send(post({"model": "small"}, path=path, headers=said))
            assert (await wire.reply()).status == 403
    assert upstream.seen == []
    assert sidecar.app.runtime.pinned is None
    assert sidecar.app.runtime.snapshot.generation == 1
