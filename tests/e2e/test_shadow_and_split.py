"""Another route's decisions, logged beside the traffic or acting on a share of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.classify.dummy import DummyReader
from sidecar.cli import main
from sidecar.encoder.abilities import Catalogue
from sidecar.encoder.bundle import Bundle
from sidecar.errors import ConfigError
from sidecar.types import Reading
from tests.conftest import Running, Start
from tests.support.raw_upstream import RawUpstream, Seen, answer, stream
from tests.support.wire import Reply, Wire, chat, exchange, post


@pytest.fixture
def trying(config: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Everything goes to the large model, and the usual route is tried beside it."""
    config["decision_log"] = {"file": str(tmp_path / "log.jsonl")}
    config["routes"]["prod"] = {
        "policy": "fixed",
        "models": ["large"],
        "default": "large",
        "shadow": "auto",
    }
    return config


async def ask(sidecar: Running, text: str = "hello", session: str = "s", **fields: Any) -> Reply:
    headers = f"Content-Type: application/json\r\nx-router-session: {session}\r\n"
    body = chat(text, **{"model": "prod", **fields})
    return await exchange(sidecar.app.listen, post(body, headers=headers))


async def logged(sidecar: Running, tmp_path: Path) -> list[dict[str, Any]]:
    assert sidecar.app.runtime.decisions is not None
    await sidecar.app.runtime.decisions.close()
    return [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]


async def thinking(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Answers after the time that any model takes: a shadow has its reading by then."""
    await asyncio.sleep(0.7)
    await answer()(seen, writer)


async def test_a_shadow_decides_and_nobody_acts_on_it(
    start: Start, trying: dict[str, Any], tmp_path: Path, upstream: RawUpstream, second: RawUpstream
) -> None:
    sidecar = await start(trying)
    second.script = thinking
    for text in ("hello", "HARD"):
        assert (await ask(sidecar, text)).header("x-router-model") == ["large"]
    assert upstream.seen == []
    assert len(second.seen) == 2
    easy, hard = await logged(sidecar, tmp_path)
    assert (easy["decided"], easy["shadow"]["model"]) == ("large", "small")
    assert hard["shadow"]["model"] == "large"
    assert easy["shadow"]["route"] == "auto"
    assert easy["shadow"]["cost_usd"] < easy["cost_usd"]
    assert hard["shadow"]["cost_usd"] == pytest.approx(hard["cost_usd"])
    assert 0 < easy["shadow"]["p"] < 1


async def test_a_shadow_that_explores_decides_by_draws_and_moves_nobody_elses(
    start: Start, trying: dict[str, Any], tmp_path: Path
) -> None:
    """Between two models of one ability a bandit tries both, and `cost_quality` would
    never. A route that explores for real draws the same whether it is shadowed or not."""
    trying["models"]["large"]["ability"] = trying["models"]["small"]["ability"]
    trying["learning"] = {"seed": 7}
    bandit = {"policy": "bandit", "models": ["small", "large"], "default": "large"}
    trying["routes"] |= {"tried": bandit, "live": dict(bandit)}

    demand = (0.1,) * Catalogue.of(Bundle.load()).demand

    def read(window: str) -> Reading:
        return Reading(difficulty=0.5, demand=demand, version="dummy-1")

    async def asked(sidecar: Running, route: str) -> list[str]:
        replies = [await ask(sidecar, model=route) for _ in range(24)]
        return [reply.header("x-router-model")[0] for reply in replies]

    alone = await asked(await start(trying, classifier=DummyReader(read)), "live")
    trying["routes"]["prod"]["shadow"] = trying["routes"]["live"]["shadow"] = "tried"
    trying["decision_log"]["file"] = str(tmp_path / "beside.jsonl")
    sidecar = await start(trying, classifier=DummyReader(read))
    assert await asked(sidecar, "live") == alone
    assert set(await asked(sidecar, "prod")) == {"large"}
    assert sidecar.app.runtime.decisions is not None
    await sidecar.app.runtime.decisions.close()
    rows = [json.loads(line) for line in (tmp_path / "beside.jsonl").read_text().splitlines()]
    assert {row["shadow"]["model"] for row in rows} == {"small", "large"}


async def test_a_shadow_that_cannot_decide_costs_the_request_nothing(
    start: Start, trying: dict[str, Any], tmp_path: Path
) -> None:
    trying["routes"]["auto"]["models"] = ["small"]
    trying["routes"]["auto"]["default"] = "small"
    sidecar = await start(trying)
    picture = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    body = {"model": "prod", "messages": [{"role": "user", "content": picture}]}
    assert (await exchange(sidecar.app.listen, post(body))).status == 200
    (row,) = await logged(sidecar, tmp_path)
    assert row["shadow"] == {"route": "auto", "model": None, "error": "no_capable_model"}


async def test_a_caller_who_leaves_leaves_no_task_of_a_shadow_behind(
    start: Start, trying: dict[str, Any], second: RawUpstream, tmp_path: Path
) -> None:
    sidecar = await start(trying)
    second.script = stream(30.0)
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat(model="prod")))
        await asyncio.wait_for(second.asked.wait(), 10)
    await asyncio.wait_for(second.gone.wait(), 10)
    (row,) = await logged(sidecar, tmp_path)
    assert row["ended"] == "hang-up"
    assert row["shadow"]["route"] == "auto"


async def test_a_split_sends_each_session_one_way_and_the_log_says_which(
    start: Start, trying: dict[str, Any], tmp_path: Path
) -> None:
    trying["routes"]["prod"]["split"] = {"arms": {"cheap": {"route": "auto", "percent": 50}}}
    sidecar = await start(trying)
    seen: dict[str, set[str]] = {}
    for number in range(12):
        for _ in range(2):
            reply = await ask(sidecar, session=f"s{number}")
            assert reply.header("x-router-route") == ["prod"]
            seen.setdefault(f"s{number}", set()).add(reply.header("x-router-model")[0])
    assert all(len(models) == 1 for models in seen.values())
    assert {model for models in seen.values() for model in models} == {"small", "large"}
    rows = await logged(sidecar, tmp_path)
    assert {(row["arm"], row["model"]) for row in rows} == {
        ("cheap", "small"),
        ("control", "large"),
    }
    assert main(["report", str(tmp_path / "log.jsonl")]) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shadow": "nobody"}, "shadow: no route is called 'nobody'"),
        ({"shadow": "prod"}, "shadow: is the route itself"),
        ({"split": {"arms": {"a": {"route": "auto", "percent": 101}}}}, "percent"),
        (
            {"split": {"arms": {"a": {"route": "auto", "percent": 60},
                                "b": {"policy": "fixed", "percent": 60}}}},
            "more than 100 percent",
        ),
        ({"split": {"arms": {"a": {"percent": 5}}}}, "`route` or `policy`"),
        ({"split": {"arms": {"a": {"policy": "magic", "percent": 5}}}}, "'magic' is unknown"),
        ({"split": {"arms": {"control": {"route": "auto", "percent": 5}}}}, "another name"),
        ({"split": {"arms": {"a": {"route": "atuo", "percent": 5}}}}, "did you mean 'auto'"),
    ],
)  # fmt: skip
async def test_a_trial_that_cannot_be_is_a_fault(
    start: Start, trying: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    trying["routes"]["prod"] |= change
    with pytest.raises(ConfigError, match=r"routes\.prod") as caught:
        await start(trying)
    assert said in str(caught.value)
