"""The loop is open: requests leave when they are due, and their latency counts from then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from sidecar.load.client import Address
from sidecar.load.plan import Load, Objectives, Plan, Target
from sidecar.load.run import DIRECT, ROUTED, Leg, Site, run

ANSWER = b'{"choices": [{"message": {"content": "hi"}}]}'


@asynccontextmanager
async def server(before: Callable[[bytes], Awaitable[None]]) -> AsyncIterator[str]:
    """Answers once ``before`` has, which is given the body; yields its base URL."""

    async def answer(request: web.Request) -> web.Response:
        await before(await request.read())
        return web.Response(
            body=ANSWER, content_type="application/json", headers={"x-router-model": "m"}
        )

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def legs(url: str, direct: str | None = None, **load: float) -> list[Leg]:
    plan = Plan(
        target=Target(url=url),
        objectives=Objectives(error_rate=1),
        load=Load(warm_up=0, stream=0.0, **load),  # type: ignore[arg-type]
    )
    site = Site(Address(url), "auto", Address(direct) if direct else None)
    return await run(plan, site, lambda *_: None)


async def test_nothing_leaves_before_it_is_due() -> None:
    async def at_once(_: bytes) -> None:
        return

    async with server(at_once) as url:
        [leg] = await legs(url, rate=300, duration_s=0.5, rounds=1)
    assert len(leg.samples) > 100
    assert min(s.late_ms for s in leg.samples) > -0.01
    assert not any(s.error for s in leg.samples)


async def test_a_deployment_that_stalls_neither_slows_the_load_nor_looks_well() -> None:
    seen = 0
    through = asyncio.Event()

    async def stall(_: bytes) -> None:
        nonlocal seen
        seen += 1
        await through.wait()

    async with server(stall) as url:
        running = asyncio.create_task(legs(url, rate=100, duration_s=0.5, rounds=1))
        sent = -1
        async with asyncio.timeout(60):
            while not seen or sent != seen:  # until no more come, however busy the machine is
                sent = seen
                await asyncio.sleep(1.0)
        through.set()
        [leg] = await running
    assert sent == len(leg.samples) > 20  # all of them, though none was answered
    for sample in leg.samples:
        assert sample.total_ms >= 900  # the stall counts, from when it was due


async def test_what_is_too_much_at_once_is_shed_and_counts_as_failed() -> None:
    through = asyncio.Event()

    async def stall(_: bytes) -> None:
        await through.wait()

    async with server(stall) as url:
        running = asyncio.create_task(
            legs(url, rate=100, duration_s=0.5, rounds=1, max_in_flight=5)
        )
        await asyncio.sleep(2.5)
        through.set()
        [leg] = await running
    failed = [s for s in leg.samples if s.error]
    assert leg.shed == len(failed) == len(leg.samples) - 5
    assert {s.error for s in failed} == {"5 were in flight already"}


async def test_rounds_go_routed_and_direct_in_turn_with_the_same_prompts() -> None:
    routed: list[bytes] = []
    direct: list[bytes] = []

    async def note(body: bytes, where: list[bytes]) -> None:
        where.append(body)

    async with (
        server(lambda body: note(body, routed)) as url,
        server(lambda body: note(body, direct)) as models,
    ):
        ran = await legs(url, models, rate=50, duration_s=0.4, rounds=3)
    assert [(leg.via, leg.round) for leg in ran] == [
        (via, n) for n in range(3) for via in (ROUTED, DIRECT)
    ]
    asked = sorted(body.replace(b'"auto"', b'"m"', 1) for body in routed)
    assert asked == sorted(direct)
    assert len(set(asked)) == len(asked)
