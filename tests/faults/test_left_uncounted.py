"""A caller who leaves before an answer has begun has made its upstreams work all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson

from tests.conftest import Start, config_for
from tests.support.raw_upstream import RawUpstream, answer, raw
from tests.support.wire import Wire, chat, post


async def leave(sidecar: Any, *waiting: RawUpstream) -> None:
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat()))
        for upstream in waiting:
            await asyncio.wait_for(upstream.asked.wait(), 10)
        await asyncio.sleep(0.05)
        wire.hang_up()
    await asyncio.wait_for(waiting[-1].gone.wait(), 10)


async def test_what_failed_before_the_caller_left_is_counted(
    start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    config = {**config_for(upstream.url, second.url), "decision_log": {"file": str(log)}}
    sidecar = await start(config)
    upstream.script = answer(b"{}", "503 Service Unavailable")
    second.script = raw(60.0)
    await leave(sidecar, upstream, second)
    await sidecar.app.runtime.decisions.close()  # type: ignore[union-attr]
    (line,) = log.read_bytes().splitlines()
    row = orjson.loads(line)
    assert row["ended"] == "hang-up"
    assert [each["model"] for each in row["failed"]] == ["small"]
