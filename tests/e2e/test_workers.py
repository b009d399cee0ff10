"""Several workers on one port behave as one sidecar."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.conftest import config_for
from tests.support.process import Process, serve
from tests.support.raw_upstream import RawUpstream, event, stream

BODY = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def fleet(tmp_path: Path, upstream: RawUpstream) -> AsyncIterator[Process]:
    options = ("--workers", "3", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    process = await serve(tmp_path / "sidecar.yaml", config_for(upstream.url), *options)
    await process.serving()
    yield process
    await process.kill()


async def ask(process: Process, **body: Any) -> str:
    """One request on a connection of its own; the model that answered."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(f"{process.url}/chat/completions", json={**BODY, **body}) as answer,
    ):
        assert answer.status == 200
        await answer.read()
        return answer.headers["x-router-model"]


async def admin(process: Process, method: str, path: str, **kwargs: Any) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://{process.admin}{path}", **kwargs) as answer,
    ):
        return answer.status, await answer.text()


async def test_workers_share_the_port_and_their_metrics_are_summed(fleet: Process) -> None:
    status, said = await admin(fleet, "GET", "/readyz")
    assert status == 200
    assert '"workers":3' in said
    assert len(fleet.children()) == 2
    for _ in range(30):
        assert await ask(fleet) == "small"
    _, metrics = await admin(fleet, "GET", "/metrics")
    assert 'router_decisions_total{model="small",reason="explicit",route="-"} 30.0' in metrics
    assert "router_config_generation 1.0" in metrics


async def test_the_kill_switch_and_a_reload_reach_every_worker(fleet: Process) -> None:
    status, _ = await admin(fleet, "POST", "/admin/kill-switch", json={"model": "large"})
    assert status == 200
    assert {await ask(fleet) for _ in range(20)} == {"large"}
    await admin(fleet, "DELETE", "/admin/kill-switch")
    assert {await ask(fleet) for _ in range(20)} == {"small"}
    status, said = await admin(fleet, "POST", "/admin/reload")
    assert status == 200
    assert '"generation":2' in said
    _, metrics = await admin(fleet, "GET", "/metrics")
    assert "router_config_generation 2.0" in metrics


async def test_sigterm_drains_every_worker_and_leaves_no_process(
    fleet: Process, upstream: RawUpstream
) -> None:
    upstream.script = stream(
        event({"content": "a"}), 1.0, event({"content": "b"}), event({}, "stop")
    )
    children = fleet.children()
    asking = [asyncio.ensure_future(ask(fleet, stream=True)) for _ in range(8)]
    async with asyncio.timeout(20):
        while len(upstream.seen) < 8:
            await asyncio.sleep(0.02)
    fleet.terminate()
    assert await asyncio.gather(*asking) == ["small"] * 8
    assert await fleet.ended() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


async def test_a_worker_that_dies_is_started_again_with_the_kill_switch_on(
    fleet: Process,
) -> None:
    await admin(fleet, "POST", "/admin/kill-switch", json={"model": "large"})
    before = fleet.children()
    os.kill(before[0], signal.SIGKILL)
    async with asyncio.timeout(60):
        while set(fleet.children()) == set(before) or len(fleet.children()) < 2:
            await asyncio.sleep(0.05)
        while (await admin(fleet, "GET", "/readyz"))[1].count('"workers":3') == 0:
            await asyncio.sleep(0.05)
    assert {await ask(fleet) for _ in range(20)} == {"large"}


async def test_followers_end_when_their_leader_is_killed(fleet: Process) -> None:
    children = fleet.children()
    fleet.process.kill()
    async with asyncio.timeout(30):
        while any(Path(f"/proc/{pid}").exists() for pid in children):
            await asyncio.sleep(0.05)


async def test_the_dashboard_shows_all_workers_together(fleet: Process) -> None:
    for _ in range(30):
        await ask(fleet)
    status, said = await admin(fleet, "GET", "/admin/live")
    first = orjson.loads(said)
    assert (status, first["state"]["workers"]) == (200, 3)
    assert first["figures"]["requests"] == 30
    assert len({row["request_id"] for row in first["decisions"]}) == 30
    times = [row["time"] for row in first["decisions"]]
    assert times == sorted(times)
    await ask(fleet)
    _, said = await admin(fleet, "GET", f"/admin/live?after={first['cursor']}")
    then = orjson.loads(said)
    assert len(then["decisions"]) == 1
    assert then["figures"]["requests"] == 31
