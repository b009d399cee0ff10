"""At least 400 requests at once and 1,000 idle connections, from a shell's usual limits."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import config_for
from tests.support.process import serve
from tests.support.raw_upstream import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    RawUpstream,
    Seen,
    chunk,
    event,
)
from tests.support.wire import Wire, chat, exchange, post

USUAL = 1024  # the soft limit of open files that most systems start a process with
AT_ONCE, IDLE = 400, 1000


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Room in this process for the callers and the upstream."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_400_streams_at_once_beside_1000_idle_connections(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    first, last = event({"content": "x"}), event({}, finish="stop") + DONE
    everybody = asyncio.Event()

    async def play(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(first))
        await everybody.wait()
        writer.write(chunk(last) + LAST_CHUNK)

    upstream.script = play
    config = config_for(upstream.url)
    config["classifier"] = {"deadline_ms": 10_000}
    sidecar = await serve(tmp_path / "sidecar.yaml", config, files=USUAL)
    wires: list[Wire] = []
    try:
        await sidecar.serving()
        for _ in range(IDLE):
            wires.append(await Wire.to(sidecar.listen))
        wires[0].send(post(chat(model="nobody")))
        assert (await wires[0].reply()).status == 404

        async def begin() -> Wire:
            wire = await Wire.to(sidecar.listen)
            wires.append(wire)
            wire.send(post(chat(stream=True)))
            assert (await wire.head()).status == 200
            assert await wire.chunk() == first
            return wire

        # all of them have begun before any of them may end
        streams = await asyncio.gather(*(begin() for _ in range(AT_ONCE)))
        assert len(upstream.seen) == AT_ONCE
        everybody.set()
        for wire in streams:
            assert await wire.chunk() == last
            assert await wire.chunk() == b""
        upstream.script = None
        wires[-1].send(post(chat()))
        assert (await wires[-1].reply()).status == 200
        assert (await exchange(sidecar.listen, post(chat()))).status == 200
    finally:
        for wire in wires:
            wire.hang_up()
        sidecar.terminate()
        assert await sidecar.ended() == 0
