"""An explanation leaves the process as it was, and is the same each time it is asked for."""

from __future__ import annotations

import random
from typing import Any

from sidecar.classify.dummy import DummyReader
from sidecar.encoder.abilities import Catalogue
from sidecar.encoder.bundle import Bundle
from sidecar.types import Reading
from tests.conftest import Running, Start
from tests.support.wire import chat, exchange, post

WIDE = Catalogue.of(Bundle.load()).demand


def demanding(window: str) -> Reading:
    rng = random.Random(window)
    return Reading(0.5, demand=tuple(rng.gauss(0, 0.4) for _ in range(WIDE)), version="dummy-1")


async def explained(sidecar: Running, text: str, **fields: Any) -> dict[str, Any]:
    reply = await exchange(sidecar.app.admin, post(chat(text, **fields), path="/admin/explain"))
    assert reply.status == 200
    found: dict[str, Any] = reply.json
    found.pop("timings_ms")
    return found


async def served(sidecar: Running, count: int) -> list[str]:
    replies = [
        await exchange(sidecar.app.listen, post(chat(f"question {i}"))) for i in range(count)
    ]
    return [reply.header("x-router-model")[0] for reply in replies]


def exploring(config: dict[str, Any]) -> dict[str, Any]:
    config["routes"]["auto"] |= {"policy": "bandit", "quality": 0.97}
    return {**config, "learning": {"seed": 7}}


async def test_a_bandit_is_explained_by_draws_of_the_request_and_says_them(
    start: Start, config: dict[str, Any]
) -> None:
    sidecar = await start(exploring(config), classifier=DummyReader(demanding))
    first = await explained(sidecar, "hello")
    assert await explained(sidecar, "hello") == first
    drawn = first["drawn"]["probabilities"]
    assert set(drawn) == {"small", "large"}
    assert f"{first['model']} {drawn[first['model']]:.3f}" in str(first["steps"])
    others = [(await explained(sidecar, f"hello {i}"))["drawn"]["probabilities"] for i in range(5)]
    assert len({str(each) for each in (drawn, *others)}) == 6


async def test_requests_draw_as_they_would_have_without_explanations(
    start: Start, config: dict[str, Any]
) -> None:
    config = exploring(config)
    undisturbed = await start(config, classifier=DummyReader(demanding))
    alone = await served(undisturbed, 24)
    assert len(set(alone)) == 2
    beside = await start(config, classifier=DummyReader(demanding))
    found = []
    for i in range(24):
        await explained(beside, f"something else {i}")
        reply = await exchange(beside.app.listen, post(chat(f"question {i}")))
        found += reply.header("x-router-model")
    assert found == alone


async def test_other_policies_tell_of_no_draws(start: Start, config: dict[str, Any]) -> None:
    sidecar = await start({**config, "learning": {"seed": 7}}, classifier=DummyReader(demanding))
    assert "drawn" not in await explained(sidecar, "hello")


async def test_a_budget_that_is_used_up_is_not_counted_for_an_explanation(
    start: Start, config: dict[str, Any]
) -> None:
    config["budgets"] = {"all": {"per": "all", "period": "day", "tokens": 1, "at_limit": "refuse"}}
    sidecar = await start(config, classifier=DummyReader(demanding))
    await served(sidecar, 1)

    async def limited() -> list[str]:
        reply = await exchange(sidecar.app.admin, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        lines = reply.body.decode().splitlines()
        return [line for line in lines if line.startswith("router_budget") and "refuse" in line]

    before = await limited()
    reply = await exchange(sidecar.app.admin, post(chat("hello"), path="/admin/explain"))
    assert reply.status == 429
    assert await limited() == before
    reply = await exchange(sidecar.app.listen, post(chat("hello")))
    assert reply.status == 429
    assert await limited() != before


async def test_a_split_by_request_is_explained_alike(start: Start, config: dict[str, Any]) -> None:
    arms = {"other": {"percent": 50, "policy": "fixed"}}
    config["routes"]["auto"]["split"] = {"by": "request", "arms": arms}
    sidecar = await start(config, classifier=DummyReader(demanding))
    first = await explained(sidecar, "hello")
    for _ in range(6):
        assert await explained(sidecar, "hello") == first
    arms_seen = {str((await explained(sidecar, f"hi {i}"))["steps"][0]) for i in range(12)}
    assert len(arms_seen) == 2
