"""A caller who leaves takes the upstream's work with it, and leaves nothing here.

Every window is tried with the upstream in the clear and behind TLS: there a polite
goodbye waits for the other side's, for half a minute under uvloop, so the connection
must be cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from sidecar.classify.batcher import BatchingClassifier
from sidecar.types import Reading
from tests.conftest import Running, Start, config_for
from tests.support.leaks import Leaks
from tests.support.raw_upstream import (
    ANSWER,
    STREAM_HEAD,
    RawUpstream,
    Seen,
    chunk,
    event,
    raw,
)
from tests.support.tls import Authority
from tests.support.wire import Wire, chat, exchange, post

SOON = 5.0  # seconds: many times what it takes on a busy machine, a fraction of a goodbye
GENEROUS = 20.0


async def until(holds: Callable[[], bool], seconds: float = GENEROUS) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # what is waited for has no event
            await asyncio.sleep(0.01)


@pytest.fixture(params=["plain", "tls"])
async def upstream(
    request: pytest.FixtureRequest, authority: Authority
) -> AsyncIterator[RawUpstream]:
    server = RawUpstream(tls=authority.server() if request.param == "tls" else None)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def config(config: dict[str, Any], authority: Authority) -> dict[str, Any]:
    config["upstreams"]["local"]["ca_file"] = str(authority.file)
    return config


@pytest.fixture
async def sidecar(start: Start, config: dict[str, object]) -> Running:
    return await start(config)


async def noticed_at_once(sidecar: Running, upstream: RawUpstream) -> None:
    """The upstream has seen the cut before the next caller but two has an answer."""
    upstream.script = None
    for _ in range(3):
        assert (await exchange(sidecar.app.listen, post(chat()))).status == 200
        if upstream.gone.is_set():
            return
    pytest.fail("three callers were served and the upstream knew nothing")


async def warm(sidecar: Running) -> Leaks:
    """One whole request first: what it leaves open is a pool and not a leak."""
    assert (await exchange(sidecar.app.listen, post(chat()))).status == 200
    await asyncio.sleep(0.05)
    return Leaks()


def in_flight(sidecar: Running) -> float:
    return sidecar.app.runtime.telemetry.in_flight.value


@pytest.mark.parametrize("streamed", [False, True])
async def test_before_the_first_byte_the_upstream_sees_it(
    sidecar: Running, upstream: RawUpstream, second: RawUpstream, streamed: bool
) -> None:
    leaks = await warm(sidecar)
    upstream.script = raw(60.0)
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat(stream=streamed)))
        await until(lambda: len(upstream.seen) == 2)
        assert not upstream.gone.is_set()
        wire.hang_up()
    await asyncio.wait_for(upstream.gone.wait(), SOON)
    assert second.seen == []  # nobody is left to answer
    assert in_flight(sidecar) == 0
    await leaks.none()


async def test_while_a_stream_is_held_for_its_first_content_the_upstream_sees_it(
    sidecar: Running, upstream: RawUpstream
) -> None:
    leaks = await warm(sidecar)
    upstream.script = raw(STREAM_HEAD, chunk(b": ka\n\n"), 60.0)
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat(stream=True)))
        await until(lambda: len(upstream.seen) == 2)
        await asyncio.sleep(0.05)
        wire.hang_up()
    await asyncio.wait_for(upstream.gone.wait(), SOON)
    await leaks.none()


@pytest.mark.parametrize("politely", [False, True])
async def test_in_mid_stream_the_upstream_sees_it(
    sidecar: Running, upstream: RawUpstream, politely: bool
) -> None:
    leaks = await warm(sidecar)
    upstream.script = raw(STREAM_HEAD, chunk(event({"content": "x"})), 60.0)
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat(stream=True)))
        await wire.head()
        await wire.chunk()
        if politely:
            wire.writer.close()
        else:
            wire.hang_up()
        await asyncio.wait_for(upstream.gone.wait(), SOON)
    await leaks.none()
    ended = sidecar.app.runtime.telemetry.exposition().decode()
    assert 'router_answers_total{ended="hang-up",model="small",status="200"} 1.0' in ended


async def test_while_a_slow_reader_is_written_to_the_upstream_sees_it(
    sidecar: Running, upstream: RawUpstream
) -> None:
    leaks = await warm(sidecar)
    big = event({"content": "x" * 60_000})

    async def play(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        while True:
            writer.write(chunk(big))
            await writer.drain()
            # a TLS transport that has seen the end drops what is written without a word, so
            # that drain never waits: this loop would keep the event loop from telling us
            await asyncio.sleep(0)

    upstream.script = play
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat(stream=True)))
        await wire.head()
        await asyncio.sleep(0.3)  # the buffers between them fill, and nobody reads
        wire.hang_up()
        await asyncio.wait_for(upstream.gone.wait(), SOON)
    await leaks.none()


async def test_a_slow_reader_slows_the_upstream_and_fills_no_memory(
    sidecar: Running, upstream: RawUpstream
) -> None:
    await warm(sidecar)
    sent = 0
    big = event({"content": "x" * 60_000})

    async def play(seen: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(STREAM_HEAD)
        while sent < 200_000_000:
            writer.write(chunk(big))
            await writer.drain()
            await asyncio.sleep(0)  # as above
            sent += len(big)

    upstream.script = play
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        wire.send(post(chat(stream=True)))
        await until(lambda: sent > 0)
        last = -1
        while sent != last:  # until nothing moves any more
            last = sent
            await asyncio.sleep(0.3)
        assert sent < 50_000_000  # socket buffers, and no answer kept here
        wire.hang_up()


class GatedReader:
    """Holds every reading until the test lets go."""

    version = "gated"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.windows: list[str] = []

    def read(self, windows: Sequence[str]) -> list[Reading]:
        self.windows += windows
        assert self.gate.wait(GENEROUS)
        return [Reading(0.1) for _ in windows]


async def test_while_it_waits_for_the_decision_no_upstream_is_asked(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream
) -> None:
    reader = GatedReader()
    reader.gate.set()
    classifier = BatchingClassifier(reader, name="gated", deadline_s=GENEROUS)
    sidecar = await start(config, classifier=classifier)
    leaks = await warm(sidecar)
    upstream.seen.clear()
    reader.gate.clear()
    reader.windows.clear()
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat("waiting")))
        await until(lambda: len(reader.windows) == 1)
        assert in_flight(sidecar) == 1
        wire.hang_up()
        await until(lambda: in_flight(sidecar) == 0, SOON)
    reader.gate.set()
    # the worker lives on, and the next caller gets an answer
    assert (await exchange(sidecar.app.listen, post(chat()))).status == 200
    assert len(upstream.seen) == 1
    assert second.seen == []
    await leaks.none()


@pytest.mark.parametrize("window", ["before the first byte", "held", "in mid-stream"])
async def test_the_upstream_sees_it_before_others_are_served(
    sidecar: Running, upstream: RawUpstream, window: str
) -> None:
    await warm(sidecar)
    begun = {
        "before the first byte": (),
        "held": (STREAM_HEAD, chunk(b": ka\n\n")),
        "in mid-stream": (STREAM_HEAD, chunk(event({"content": "x"}))),
    }[window]
    upstream.script = raw(*begun, 60.0)
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat(stream=True)))
        await until(lambda: len(upstream.seen) == 2)
        if window == "in mid-stream":
            await wire.head()
            await wire.chunk()
        assert not upstream.gone.is_set()
        wire.hang_up()
        await noticed_at_once(sidecar, upstream)


class Deaf(threading.Thread):
    """A TLS upstream that streams and never reads: a goodbye says nothing to it."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(daemon=True)
        self._tls = tls
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._server.getsockname()[1]}/v1"
        self.cut = threading.Event()
        self.over = threading.Event()

    def run(self) -> None:
        plain, _ = self._server.accept()
        with self._tls.wrap_socket(plain, server_side=True) as wire:
            wire.recv(1 << 16)
            with contextlib.suppress(OSError):
                wire.sendall(STREAM_HEAD)
                while not self.over.wait(0.02):
                    wire.sendall(chunk(event({"content": "x"})))
                return
            self.cut.set()

    def end(self) -> None:
        self.over.set()
        self.join(GENEROUS)
        self._server.close()


async def test_an_upstream_that_heeds_no_goodbye_is_cut_off(
    start: Start, authority: Authority
) -> None:
    deaf = Deaf(authority.server())
    deaf.start()
    config = config_for(deaf.url)
    for each in config["upstreams"].values():  # type: ignore[attr-defined]
        each["ca_file"] = str(authority.file)
    sidecar = await start(config)
    try:
        async with await Wire.to(sidecar.app.listen) as wire:
            wire.send(post(chat(stream=True)))
            await wire.head()
            await wire.chunk()
            assert not deaf.cut.is_set()
        assert await asyncio.to_thread(deaf.cut.wait, SOON)
    finally:
        await asyncio.to_thread(deaf.end)


async def test_a_crowd_that_leaves_at_once_leaves_nothing(
    sidecar: Running, upstream: RawUpstream
) -> None:
    leaks = await warm(sidecar)
    upstream.script = raw(STREAM_HEAD, chunk(event({"content": "x"})), 60.0)
    wires = [await Wire.to(sidecar.app.listen) for _ in range(40)]
    for wire in wires:
        wire.send(post(chat(stream=True)))
    await until(lambda: len(upstream.seen) == 41)
    for i, wire in enumerate(wires):
        if i % 2:
            await wire.head()
    for wire in wires:
        wire.hang_up()
    await until(lambda: in_flight(sidecar) == 0)
    await leaks.none()
    upstream.script = None
    reply = await exchange(sidecar.app.listen, post(chat()))
    assert reply.json == ANSWER
