"""Asking again: at another time, within a budget; at another address, beside a slow one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from sidecar.attempts.attempt import Attempt, Step
from sidecar.attempts.trial import Trial
from sidecar.types import Decision, Failure
from tests.conftest import Running, Start, config_for
from tests.support.builders import call
from tests.support.raw_upstream import (
    ANSWER,
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    RawUpstream,
    Script,
    Seen,
    answer,
    chunk,
    event,
    raw,
    stream,
)
from tests.support.wire import Reply, chat, exchange, post

BUSY = answer(b'{"error":{"message":"busy"}}', "503 Service Unavailable")
SOON = answer(b'{"error":{}}', "429 Too Many Requests", "Retry-After: 1\r\n")
LATE = answer(b'{"error":{}}', "429 Too Many Requests", "Retry-After: 30\r\n")


def first(failing: Script, times: int) -> Script:
    """``failing`` for the first requests, and then an answer."""
    left = times

    async def play(seen: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        left -= 1
        await (failing if left >= 0 else answer())(seen, writer)

    return play


async def one(start: Start, upstream: RawUpstream, **keys: Any) -> Running:
    config: dict[str, Any] = config_for(upstream.url)
    config["upstreams"]["local"].update(keys)
    return await start(config)


async def ask(sidecar: Running, **fields: Any) -> Reply:
    return await exchange(sidecar.app.listen, post(chat(**{"model": "small", **fields})))


async def test_a_model_is_asked_again_as_often_as_configured(
    start: Start, upstream: RawUpstream
) -> None:
    sidecar = await one(start, upstream, retries=2)
    upstream.script = first(BUSY, 2)
    assert (await ask(sidecar)).json == ANSWER
    assert len(upstream.seen) == 3
    upstream.script = BUSY
    assert (await ask(sidecar)).status == 503
    assert len(upstream.seen) == 6


async def test_without_retries_it_is_asked_once(start: Start, upstream: RawUpstream) -> None:
    sidecar = await one(start, upstream)
    upstream.script = BUSY
    assert (await ask(sidecar)).status == 503
    assert len(upstream.seen) == 1


async def test_a_retry_waits_as_long_as_it_is_told_but_not_for_ever(
    start: Start, upstream: RawUpstream
) -> None:
    sidecar = await one(start, upstream, retries=1)
    upstream.script = first(SOON, 1)
    began = asyncio.get_running_loop().time()
    assert (await ask(sidecar)).json == ANSWER
    assert asyncio.get_running_loop().time() - began > 0.9
    upstream.script = LATE
    assert (await ask(sidecar)).status == 429
    assert len(upstream.seen) == 3


async def test_retries_stop_where_the_budget_is_spent(start: Start, upstream: RawUpstream) -> None:
    down = "http://127.0.0.1:9/v1"  # nobody listens on the discard port
    sidecar = await one(start, upstream, base_url=down, replicas=[upstream.url], retry_budget=0.01)
    small = sidecar.app.runtime.snapshot.models["small"]
    budget = sidecar.app.runtime.dispatcher._budget(small.upstream)
    while budget.take(budget._at):  # as after a storm
        pass
    assert (await ask(sidecar)).status == 502
    assert upstream.seen == []


async def hedging(start: Start, upstream: RawUpstream, second: RawUpstream, log: Path) -> Running:
    keys = {"replicas": [second.url], "hedge_after_s": 0.1}
    config: dict[str, Any] = config_for(upstream.url)
    config["upstreams"]["local"].update(keys)
    return await start({**config, "decision_log": {"file": str(log)}})


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_slow_start_is_hedged_and_the_loser_let_go_and_counted(
    start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path, streamed: bool
) -> None:
    log = tmp_path / "log.jsonl"
    sidecar = await hedging(start, upstream, second, log)
    events = (event({"content": "x"}), event({}, finish="stop") + DONE)
    slow = raw(STREAM_HEAD, chunk(b": ka\n\n"), 60.0, LAST_CHUNK) if streamed else raw(60.0)
    quick = stream(*events) if streamed else answer()
    upstream.script, second.script = slow, quick
    reply = await ask(sidecar, stream=streamed)
    assert reply.status == 200
    assert reply.body == b"".join(events) if streamed else reply.json == ANSWER
    await asyncio.wait_for(upstream.gone.wait(), 10)  # the loser need not go on
    assert len(upstream.seen) == len(second.seen) == 1
    await sidecar.app.runtime.decisions.close()  # type: ignore[union-attr]
    (line,) = log.read_bytes().splitlines()
    assert orjson.loads(line)["failed"] == [{"model": "small", "why": "overtaken by a hedge"}]
    assert 'router_attempts_failed_total{model="small"} 1.0' in (
        sidecar.app.runtime.telemetry.exposition().decode()
    )


async def test_a_quick_start_is_not_hedged(
    start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    sidecar = await hedging(start, upstream, second, tmp_path / "log.jsonl")
    assert (await ask(sidecar)).json == ANSWER
    assert len(upstream.seen) + len(second.seen) == 1


async def test_a_caller_who_leaves_takes_both_along(
    start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    sidecar = await hedging(start, upstream, second, tmp_path / "log.jsonl")
    upstream.script = second.script = raw(60.0)
    asking = asyncio.ensure_future(ask(sidecar))
    async with asyncio.timeout(20):
        while not (upstream.seen and second.seen):
            await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.wait_for(asyncio.gather(upstream.gone.wait(), second.gone.wait()), 10)


@pytest.mark.sources  # replaces what a compiled module has for good
async def test_a_hedge_that_begins_as_the_caller_leaves_is_let_go_too(
    start: Start, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    sidecar = await hedging(start, upstream, second, tmp_path / "log.jsonl")
    upstream.script = raw(60.0)
    second.script = raw(STREAM_HEAD, chunk(event({"content": "x"})), 60.0)  # begins, and goes on
    ask_one, asking = Trial.of, asyncio.Event()

    async def leave_as_it_begins(trial: Trial, step: Step) -> Attempt | None:
        attempt = await ask_one(trial, step)
        if attempt is not None:
            (request,) = (t for t in asyncio.all_tasks() if "Dispatcher.dispatch" in _stack(t))
            request.cancel()  # the very moment: its answer is here, and it has not seen it
            asking.set()
        return attempt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trial, "of", leave_as_it_begins)
        left = asyncio.ensure_future(ask(sidecar, stream=True))
        await asyncio.wait_for(asking.wait(), 10)
        await asyncio.wait_for(asyncio.gather(upstream.gone.wait(), second.gone.wait()), 10)
    await asyncio.gather(left, return_exceptions=True)
    health = sidecar.app.runtime.dispatcher.health
    specs = sidecar.app.runtime.snapshot.upstreams()
    assert {health.of(spec).in_flight for spec in specs} == {0}


def _stack(task: asyncio.Task[Any]) -> list[str]:
    """What a task is within, by name: its own coroutine and those that it awaits."""
    names, at = [], task.get_coro()
    while at is not None:
        names.append(getattr(at, "__qualname__", ""))
        at = getattr(at, "cr_await", None)
    return names


async def test_what_failed_before_a_caller_left_is_there_to_account_for(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    sidecar = await start(config_for(upstream.url, second.url))
    upstream.script, second.script = BUSY, raw(60.0)
    decision = Decision("small", "auto", "policy", fallbacks=("large",))
    snapshot, failures = sidecar.app.runtime.snapshot, list[Failure]()
    dispatch = sidecar.app.runtime.dispatcher.dispatch(call(), decision, snapshot, failures)
    asking = asyncio.ensure_future(dispatch)
    await asyncio.wait_for(second.asked.wait(), 10)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert failures == [Failure("small", "status 503")]


async def test_a_hedge_does_not_ask_again_before_it_may(
    start: Start, upstream: RawUpstream
) -> None:
    sidecar = await one(start, upstream, retries=1, hedge_after_s=0.05)
    upstream.script = first(SOON, 1)
    loop = asyncio.get_running_loop()
    small = sidecar.app.runtime.snapshot.models["small"]
    began = loop.time()
    held = raw(60.0)

    async def play(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if len(upstream.seen) == 1:
            # while it is slow, another request is told to come again in a second
            health = sidecar.app.runtime.dispatcher.health
            health.failed(health.of(small.upstream), time.monotonic(), 1.0)
            await held(seen, writer)
        await answer()(seen, writer)

    upstream.script = play
    assert (await ask(sidecar)).json == ANSWER
    assert loop.time() - began > 0.9
    assert len(upstream.seen) == 2
