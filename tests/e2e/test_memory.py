"""Large bodies, many at once: the sidecar stays within its room, and says so to whom it must."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Running, Start
from tests.support.process import serve
from tests.support.raw_upstream import RawUpstream, answer, raw
from tests.support.wire import Wire, chat, exchange, post

MB = 1 << 20


@pytest.fixture
def roomy(config: dict[str, Any]) -> dict[str, Any]:
    """Models that no prompt here is too long for."""
    for model in config["models"].values():
        model["context"] = 10**9
    return config


@pytest.fixture
async def sidecar(start: Start, roomy: dict[str, Any]) -> Running:
    return await start({**roomy, "limits": {"max_bodies_mb": 8, "max_body_mb": 8}})


def large(mb: float, model: str = "small") -> bytes:
    return post(chat("x" * int(mb * MB), model=model))


async def test_bodies_that_would_not_fit_are_told_to_come_again(
    sidecar: Running, upstream: RawUpstream
) -> None:
    upstream.script = raw(3600.0)
    async with await Wire.to(sidecar.app.listen) as one, await Wire.to(sidecar.app.listen) as two:
        for wire, mb in ((one, 5), (two, 2)):
            wire.send(large(mb))
            async with asyncio.timeout(20):
                await upstream.asked.wait()
            upstream.asked.clear()
        reply = await exchange(sidecar.app.listen, large(2))
        assert (reply.status, reply.json["error"]["code"]) == (429, "too_many_bytes")
        assert reply.header("retry-after") == ["1"]
        upstream.script = answer()
        small = post(chat("hello", model="small"))
        assert (await exchange(sidecar.app.listen, small)).status == 200
    # both hung up: their room is free again
    async with asyncio.timeout(20):
        while (await exchange(sidecar.app.listen, large(7))).status == 429:
            await asyncio.sleep(0.02)


async def test_the_room_of_a_caller_who_left_is_free_without_the_collector(
    sidecar: Running, upstream: RawUpstream
) -> None:
    upstream.script = raw(3600.0)
    gc.disable()
    try:
        async with await Wire.to(sidecar.app.listen) as wire:
            wire.send(large(7))
            async with asyncio.timeout(20):
                await upstream.asked.wait()
        upstream.script = answer()
        async with asyncio.timeout(20):
            while (await exchange(sidecar.app.listen, large(7))).status == 429:
                await asyncio.sleep(0.02)
    finally:
        gc.enable()


async def test_room_is_given_back_by_bodies_that_do_not_end(sidecar: Running) -> None:
    for _ in range(3):
        async with await Wire.to(sidecar.app.listen) as wire:
            wire.send(large(7)[: 3 * MB])
            async with asyncio.timeout(20):
                while (await exchange(sidecar.app.listen, large(2))).status != 429:
                    await asyncio.sleep(0.02)
    async with asyncio.timeout(20):
        while (await exchange(sidecar.app.listen, large(7))).status == 429:
            await asyncio.sleep(0.02)


async def test_memory_is_bounded_whatever_comes(
    tmp_path: Path, upstream: RawUpstream, roomy: dict[str, Any]
) -> None:
    limits = {"max_bodies_mb": 32, "max_body_mb": 16}
    process = await serve(tmp_path / "sidecar.yaml", {**roomy, "limits": limits})
    try:
        await process.serving()

        def peak_mb() -> int:
            status = Path(f"/proc/{process.process.pid}/status").read_text()
            return int(status.split("VmHWM:")[1].split()[0]) // 1024

        assert (await exchange(process.listen, large(0.1))).status == 200
        before = peak_mb()
        replies = await asyncio.gather(
            *(exchange(process.listen, large(8)) for _ in range(40)), return_exceptions=True
        )
        said = [each.status for each in replies if not isinstance(each, BaseException)]
        assert set(said) <= {200, 429}
        assert 200 in said
        # three copies of what there is room for, and what sockets and the allocator hold
        assert peak_mb() - before < 3 * 32 + 64
        assert (await exchange(process.listen, large(8))).status == 200
    finally:
        await process.kill()
