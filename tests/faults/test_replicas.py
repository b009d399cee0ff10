"""Replicas, breakers and Retry-After through a real sidecar."""

from __future__ import annotations

import logging
from typing import Any

import aiohttp
import pytest

from tests.conftest import Running, Start, config_for
from tests.support.raw_upstream import RawUpstream, answer, raw


async def ask(sidecar: Running, model: str = "auto") -> tuple[int, str, str]:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{sidecar.url}/chat/completions", json=body) as response,
    ):
        await response.read()
        head = response.headers
        return response.status, head.get("x-router-model", ""), head.get("x-router-reason", "")


@pytest.fixture
async def pair(start: Start, upstream: RawUpstream, second: RawUpstream) -> Running:
    """Both models on one upstream with two addresses."""
    config: dict[str, Any] = config_for(upstream.url)
    for each in config["upstreams"].values():
        each["replicas"] = [second.url]
    return await start(config)


async def test_a_replica_that_fails_is_passed_over_and_the_model_stays(
    pair: Running, upstream: RawUpstream, second: RawUpstream
) -> None:
    upstream.script = raw()  # closes without a word
    for _ in range(8):
        assert await ask(pair, "small") == (200, "small", "explicit")
    assert len(second.seen) == 8
    assert len(upstream.seen) <= 5  # its breaker is open by then


async def test_retry_after_rests_the_replica_that_said_so(
    pair: Running, upstream: RawUpstream, second: RawUpstream
) -> None:
    upstream.script = answer(b"{}", "429 Too Many Requests", "Retry-After: 30\r\n")
    for _ in range(4):
        assert (await ask(pair, "small"))[0] == 200
    assert len(upstream.seen) == 1
    assert len(second.seen) == 4


async def test_an_open_breaker_sends_a_route_to_its_fallback_at_once(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    config: dict[str, Any] = config_for(upstream.url, second.url)
    config["routes"]["auto"].update(policy="fixed", default="small")  # whatever it learns of it
    sidecar = await start(config)
    upstream.script = answer(b"{}", "500 Oops")
    for _ in range(9):
        assert await ask(sidecar) == (200, "large", "fallback:1")
    assert len(upstream.seen) == 5


async def test_with_every_breaker_open_the_upstream_is_asked_all_the_same(
    start: Start, upstream: RawUpstream
) -> None:
    sidecar = await start(config_for(upstream.url))
    upstream.script = answer(b"{}", "503 Busy")
    for _ in range(7):
        assert (await ask(sidecar, "small"))[0] == 503
    upstream.script = answer()
    assert await ask(sidecar, "small") == (200, "small", "explicit")


async def test_an_upstream_that_keeps_failing_and_one_that_is_back_are_said_once(
    start: Start, upstream: RawUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sidecar.upstream")
    sidecar = await start(config_for(upstream.url))
    upstream.script = raw()
    for _ in range(9):
        assert (await ask(sidecar, "small"))[0] == 502
    upstream.script = answer()
    for _ in range(3):
        assert (await ask(sidecar, "small"))[0] == 200
    failing, back = [r.getMessage() for r in caplog.records if r.name == "sidecar.upstream"]
    assert failing.startswith(f"local at {upstream.url} keeps failing, the last: ")
    assert back == f"local at {upstream.url} answers again"
