"""A provider that gets dearer, slows down or fails loses traffic by itself."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from sidecar.state.observed import NEWS_S
from sidecar.types import Decision, Failure, Outcome, Usage
from tests.conftest import Running, Start
from tests.support.builders import call
from tests.support.wire import GENEROUS, chat, exchange, post


def alike(config: dict[str, Any]) -> dict[str, Any]:
    """Two models of the same ability, `small` the cheaper."""
    for name, price in (("small", 1.0), ("large", 9.0)):
        config["models"][name] |= {
            "ability": "gpt-4o-2024-08-06",
            "price": {"input": price, "output": price},
        }
    return config


async def asked(sidecar: Running) -> str:
    reply = await exchange(sidecar.app.listen, post(chat("hello")))
    assert reply.status == 200
    return reply.header("x-router-model")[0]


async def until(sidecar: Running, model: str) -> None:
    async with asyncio.timeout(GENEROUS):
        while await asked(sidecar) != model:
            await asyncio.sleep(0.02)


async def test_new_prices_move_traffic_and_faulty_ones_do_not(
    start: Start, config: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sheet = tmp_path / "prices.yaml"
    sheet.write_text("tiny-1: {input: 1, output: 1}\n")
    sidecar = await start(alike(config) | {"prices": {"file": "prices.yaml", "check_s": 0.02}})
    assert await asked(sidecar) == "small"
    sheet.write_text("tiny-1: {input: 99, output: 99}\n")
    await until(sidecar, "large")
    generation = sidecar.app.runtime.snapshot.generation
    sheet.write_text("tiny-1: {input: 0, output: 0}\n")
    async with asyncio.timeout(GENEROUS):
        while "the last good prices stay" not in caplog.text:
            await asyncio.sleep(0.02)
    assert await asked(sidecar) == "large"
    assert sidecar.app.runtime.snapshot.generation == generation
    sheet.unlink()
    assert await asked(sidecar) == "large"
    sheet.write_text("tiny-1: {input: 0.5, output: 0.5}\n")
    await until(sidecar, "small")


def told(sidecar: Running, *, total_ms: float = 100.0, failed: bool = False, n: int = 40) -> None:
    """What the sidecar would have seen of ``small`` in ``n`` requests."""
    runtime = sidecar.app.runtime
    decision = Decision("small", "auto", "policy")
    failures = (Failure("small", "503"),) if failed else ()
    for _ in range(n):
        outcome = Outcome(
            "large" if failed else "small", "policy", 200, 1, 1, Usage(9, 0, 100),
            "complete", total_ms, total_ms, failures,
        )  # fmt: skip
        runtime.remember(call(), decision, outcome, runtime.snapshot)


async def test_a_provider_that_slows_down_loses_traffic_where_waiting_costs(
    start: Start, config: dict[str, Any]
) -> None:
    config["routes"]["auto"]["usd_per_s"] = 0.01
    sidecar = await start(alike(config))
    runtime = sidecar.app.runtime
    for model in ("small", "large"):
        outcome = Outcome(
            model, "policy", 200, 1, 1, Usage(9, 0, 100), "complete", 100.0, 100.0
        )  # fmt: skip
        runtime.remember(call(), Decision(model, "auto", "policy"), outcome, runtime.snapshot)
    assert await asked(sidecar) == "small"
    told(sidecar, total_ms=9000.0)
    await asyncio.sleep(NEWS_S)
    assert await asked(sidecar) == "large"


async def test_a_provider_that_fails_loses_traffic_and_is_tried_again_in_time(
    start: Start, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = await start(alike(config))
    assert await asked(sidecar) == "small"
    told(sidecar, failed=True, n=5)
    assert await asked(sidecar) == "large"
    later = time.time() + 600.0
    monkeypatch.setattr("sidecar.runtime.time.time", lambda: later)
    assert await asked(sidecar) == "small"


async def test_the_answers_themselves_are_what_is_learned_from(
    start: Start, config: dict[str, Any]
) -> None:
    sidecar = await start(alike(config))
    assert await asked(sidecar) == "small"
    async with asyncio.timeout(GENEROUS):
        while "small" not in (seen := sidecar.app.runtime.observations.seen(time.time())):
            await asyncio.sleep(0.01)
    assert seen["small"].first_s is not None
    assert seen["small"].reliability == 1.0
