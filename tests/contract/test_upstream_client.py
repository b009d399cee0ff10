"""One contract, two upstream clients: the same body runs over both."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
from collections.abc import AsyncIterator

import pytest
import trustme

from sidecar.config.schema import Timeouts
from sidecar.config.snapshot import UpstreamSpec
from sidecar.errors import UpstreamBroken, UpstreamUnreachable
from sidecar.upstream.aiohttp_client import AiohttpUpstreams
from sidecar.upstream.base import UpstreamResponse, Upstreams
from sidecar.upstream.lean import LeanUpstreams
from tests.support.leaks import nothing_left
from tests.support.raw_upstream import RawUpstream, Script, Seen, answer, chunk, raw

CLIENTS = {"lean": LeanUpstreams, "aiohttp": AiohttpUpstreams}
BODY = b'{"model": "m"}'


@pytest.fixture(autouse=True)
async def clean() -> AsyncIterator[None]:
    """No task and no descriptor is there when client and upstream have gone."""
    async with nothing_left():
        yield


@pytest.fixture(params=list(CLIENTS))
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Upstreams]:
    upstreams = CLIENTS[request.param]()
    yield upstreams
    await upstreams.close()


def spec(
    url: str, connect_s: float = 5.0, connections: int = 100, ca: str | None = None
) -> UpstreamSpec:
    return UpstreamSpec(
        name="local",
        base_url=url,
        family="openai",
        auth="none",
        key=None,
        ca_file=ca,
        stream_usage=True,
        max_connections=connections,
        timeouts=Timeouts(connect_s=connect_s),
    )


async def send(client: Upstreams, to: UpstreamSpec, body: bytes = BODY) -> UpstreamResponse:
    lines = b"Content-Type: application/json\r\nX-App: yes\r\n"
    return await client.send(to, "/chat/completions", lines, body)


async def drain(response: UpstreamResponse) -> bytes:
    parts = []
    try:
        while part := await response.read():
            parts.append(part)
    finally:
        response.close()
    return b"".join(parts)


async def test_the_request_goes_up_as_it_was_given(
    client: Upstreams, upstream: RawUpstream
) -> None:
    response = await send(client, spec(upstream.url))
    await drain(response)
    (seen,) = upstream.seen
    assert seen.line == "POST /v1/chat/completions HTTP/1.1"
    assert seen.body == BODY
    assert seen.header("x-app") == ["yes"]
    assert seen.header("content-length") == [str(len(BODY))]
    assert seen.header("host") == [upstream.url.removeprefix("http://").removesuffix("/v1")]
    # nothing that the caller did not say, and nothing twice
    assert {name.lower() for name, _ in seen.headers} <= {
        "host",
        "content-type",
        "x-app",
        "content-length",
    }


@pytest.mark.parametrize(
    ("script", "body"),
    [
        (answer(b"plain"), b"plain"),
        (answer(b""), b""),
        (
            raw(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                chunk(b"one "),
                chunk(b"two"),
                b"0\r\n\r\n",
                close=False,
            ),
            b"one two",
        ),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nto the end"), b"to the end"),
        (
            answer(gzip.compress(b"x" * 999, mtime=0), headers="Content-Encoding: gzip\r\n"),
            gzip.compress(b"x" * 999, mtime=0),
        ),
        (
            raw(
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                close=False,
            ),
            b"ok",
        ),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Le", 0.05, b"ngth: 2\r\n\r", b"\nok"), b"ok"),
    ],
    ids=["length", "empty", "chunked", "to-eof", "gzip", "interim", "cut-head"],
)
async def test_every_framing_gives_the_same_bytes(
    client: Upstreams, upstream: RawUpstream, script: Script, body: bytes
) -> None:
    upstream.script = script
    response = await send(client, spec(upstream.url))
    assert response.status == 200
    assert await drain(response) == body


async def test_a_connection_is_used_again(client: Upstreams, upstream: RawUpstream) -> None:
    for _ in range(5):
        await drain(await send(client, spec(upstream.url)))
    assert upstream.connections == 1


async def test_a_connection_is_not_used_again_after_connection_close(
    client: Upstreams, upstream: RawUpstream
) -> None:
    upstream.script = answer(b"x", headers="Connection: close\r\n")
    for _ in range(3):
        await drain(await send(client, spec(upstream.url)))
    assert upstream.connections == 3


async def test_a_redirect_is_not_followed(client: Upstreams, upstream: RawUpstream) -> None:
    upstream.script = answer(b"", "307 Temporary Redirect", "Location: http://127.0.0.1:1/\r\n")
    response = await send(client, spec(upstream.url))
    assert response.status == 307
    await drain(response)
    assert len(upstream.seen) == 1


async def test_no_cookie_is_remembered(client: Upstreams, upstream: RawUpstream) -> None:
    upstream.script = answer(b"x", headers="Set-Cookie: who=alice\r\n")
    for _ in range(2):
        await drain(await send(client, spec(upstream.url)))
    assert all(not seen.header("cookie") for seen in upstream.seen)


async def test_a_stale_connection_is_met_with_one_fresh_try(
    client: Upstreams, upstream: RawUpstream
) -> None:
    closing = asyncio.Event()

    async def close_on_the_second(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if len(upstream.seen) == 2:  # the pooled connection closes as the request comes
            writer.close()
            closing.set()
            return
        await answer(b"fine")(seen, writer)

    upstream.script = close_on_the_second
    assert await drain(await send(client, spec(upstream.url))) == b"fine"
    assert await drain(await send(client, spec(upstream.url))) == b"fine"
    assert closing.is_set()
    assert upstream.connections == 2


async def test_of_a_pool_of_stale_connections_none_is_the_end(
    client: Upstreams, upstream: RawUpstream
) -> None:
    upstream.script = raw(0.05, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", close=False)

    async def one() -> bytes:
        return await drain(await send(client, spec(upstream.url)))

    await asyncio.gather(*(one() for _ in range(4)))
    opened = upstream.connections
    fresh = asyncio.Event()

    async def close_what_is_old(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if upstream.connections == opened:
            writer.close()
            return
        fresh.set()
        await answer(b"fine")(seen, writer)

    upstream.script = close_what_is_old
    assert await one() == b"fine"
    assert fresh.is_set()
    assert upstream.connections == opened + 1


async def test_a_fresh_connection_that_breaks_is_a_failure_and_not_asked_again(
    client: Upstreams, upstream: RawUpstream
) -> None:
    upstream.script = raw(b"")  # it read the question: to ask again could charge twice
    with pytest.raises(UpstreamBroken):
        await send(client, spec(upstream.url))
    assert len(upstream.seen) == 1


@pytest.mark.sources  # replaces what a compiled module has for good
async def test_a_pooled_connection_that_is_lost_under_work_is_not_asked_again(
    client: Upstreams, upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.upstream.base.STALE_S", 0.1)
    await drain(await send(client, spec(upstream.url)))
    upstream.script = raw(0.5)  # it has worked on the question for a while, and dies
    with pytest.raises(UpstreamBroken):
        await send(client, spec(upstream.url))
    assert len(upstream.seen) == 2


async def test_an_answer_that_began_is_never_asked_for_again(
    client: Upstreams, upstream: RawUpstream
) -> None:
    async def half_a_head_on_the_second(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if len(upstream.seen) == 2:
            await raw(b"HTTP/1.1 200 OK\r\nContent-")(seen, writer)
            return
        await answer(b"fine")(seen, writer)

    upstream.script = half_a_head_on_the_second
    await drain(await send(client, spec(upstream.url)))
    with pytest.raises(UpstreamBroken):
        await drain(await send(client, spec(upstream.url)))
    assert len(upstream.seen) == 2


@pytest.mark.parametrize(
    "script",
    [
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n"),
        raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nbroken header\r\n\r\n"),
    ],
    ids=["short", "half-a-chunk", "bad-chunk", "not-http", "bad-header"],
)
async def test_what_is_not_a_whole_answer_is_broken(
    client: Upstreams, upstream: RawUpstream, script: Script
) -> None:
    upstream.script = script
    with pytest.raises(UpstreamBroken):
        await drain(await send(client, spec(upstream.url)))


async def test_nothing_listening_is_unreachable(client: Upstreams) -> None:
    server = RawUpstream()
    url = await server.start()
    await server.stop()
    with pytest.raises(UpstreamUnreachable, match="local"):
        await send(client, spec(url))


async def test_a_slow_reader_slows_the_upstream_and_not_the_memory(
    client: Upstreams, upstream: RawUpstream
) -> None:
    written = 0

    async def flood(seen: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 64000000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x" * 64000)
            await writer.drain()
            written += 64000

    upstream.script = flood
    response = await send(client, spec(upstream.url))
    await response.read()
    before = -1
    while written != before:  # until the upstream is stopped
        before = written
        await asyncio.sleep(0.2)
    assert written < 20_000_000  # what the kernel's socket buffers take, and little more
    assert len(await drain(response)) > 60_000_000


async def test_an_answer_left_unread_is_aborted(client: Upstreams, upstream: RawUpstream) -> None:
    upstream.script = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 30.0)
    response = await send(client, spec(upstream.url))
    response.close()
    await asyncio.wait_for(upstream.gone.wait(), 1)


async def test_a_cancelled_request_is_aborted(client: Upstreams, upstream: RawUpstream) -> None:
    upstream.script = raw(30.0)
    asking = asyncio.ensure_future(send(client, spec(upstream.url)))
    await asyncio.wait_for(upstream.asked.wait(), 5)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.wait_for(upstream.gone.wait(), 1)


async def test_more_requests_than_connections_wait_their_turn(
    client: Upstreams, upstream: RawUpstream
) -> None:
    upstream.script = raw(0.02, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", close=False)

    async def one() -> bytes:
        return await drain(await send(client, spec(upstream.url, connections=3)))

    assert await asyncio.gather(*(one() for _ in range(20))) == [b"ok"] * 20
    assert upstream.connections <= 3


async def test_whoever_waits_for_a_connection_that_fails_to_open_tries_its_own(
    client: Upstreams,
) -> None:
    server = RawUpstream()
    url = await server.start()
    await server.stop()
    asked = [send(client, spec(url, connections=1)) for _ in range(5)]
    async with asyncio.timeout(5):
        ended = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in ended] == [UpstreamUnreachable] * 5


async def test_a_body_of_many_megabytes_goes_up_whole(
    client: Upstreams, upstream: RawUpstream
) -> None:
    body = bytes(range(256)) * 40_000
    await drain(await send(client, spec(upstream.url), body))
    assert upstream.seen[0].body == body


class Tls:
    """An upstream behind a certificate of a test authority."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        certificate = self.authority.issue_cert("127.0.0.1", "localhost")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self.context)
        self.gone = asyncio.Event()

    async def __aenter__(self) -> Tls:
        self.server = await asyncio.start_server(self.connected, "127.0.0.1", 0, ssl=self.context)
        self.url = f"https://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *args: object) -> None:
        self.server.close()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            await writer.drain()
            await reader.readexactly(len(BODY))
            await reader.read(1)  # until the peer is gone
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self.gone.set()
            writer.transport.abort()


async def test_tls_is_verified(client: Upstreams) -> None:
    async with Tls() as server:
        with pytest.raises(UpstreamUnreachable):
            await send(client, spec(server.url))


async def test_an_abort_under_tls_is_seen_within_100_ms(client: Upstreams) -> None:
    # a polite TLS goodbye takes uvloop 30 s every time; a busy machine is not busy every time
    took = []
    for _ in range(10):
        async with Tls() as server:
            with server.authority.cert_pem.tempfile() as ca:
                response = await send(client, spec(server.url, ca=ca))
            assert await response.read() == b"hello"
            began = time.monotonic()
            response.close()
            await asyncio.wait_for(server.gone.wait(), 5)
            took.append(time.monotonic() - began)
        if took[-1] < 0.1:
            return
    pytest.fail(f"not once within 100 ms: {took}")
