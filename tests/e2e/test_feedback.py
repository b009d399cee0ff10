"""Scores of answers find their requests, and abilities follow them while traffic flows."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.classify.dummy import DummyReader
from sidecar.encoder.abilities import Catalogue
from sidecar.encoder.bundle import Bundle
from sidecar.types import Reading
from tests.conftest import Running, Start
from tests.support.process import serve
from tests.support.wire import Reply, chat, exchange, post

SMALL = np.array(Catalogue.of(Bundle.load())["llama-3.1-8b-instruct"].slope)
EASY = 3.0 * SMALL / np.linalg.norm(SMALL)  # a demand vector that asks little of it


def demanding(window: str) -> Reading:
    """A demand that the small model meets well, whatever is asked."""
    rng = random.Random(window)
    demand = tuple(float(x) + rng.gauss(0, 0.4) for x in EASY)
    return Reading(0.2, demand=demand, version="dummy-1")


@pytest.fixture
def learning(config: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    config["routes"]["auto"]["quality"] = 0.5
    config["decision_log"] = {"file": str(tmp_path / "log.jsonl")}
    return {**config, "learning": {"file": "learnt.json"}}


async def ask(sidecar: Running, text: str = "hello", **fields: Any) -> Reply:
    return await exchange(sidecar.app.listen, post(chat(text, **fields)))


async def score(sidecar: Running, body: Any) -> Reply:
    return await exchange(sidecar.app.admin, post(body, path="/v1/feedback"))


async def dislike(sidecar: Running, times: int) -> None:
    """Score answers of the small model as bad, as many as there are."""
    for number in range(times):
        reply = await ask(sidecar, f"question {number}")
        if reply.header("x-router-model") == ["small"]:
            (name,) = reply.header("x-router-request-id")
            assert (await score(sidecar, {"request_id": name, "score": 0})).status == 200


async def test_a_score_finds_its_request_and_is_logged(
    start: Start, learning: dict[str, Any], tmp_path: Path
) -> None:
    sidecar = await start(learning, classifier=DummyReader(demanding))
    (name,) = (await ask(sidecar)).header("x-router-request-id")
    reply = await score(sidecar, {"request_id": name, "score": 1})
    assert reply.status == 200
    assert reply.json["model"] == "small"
    assert reply.json["learnt"] is True
    again = await score(sidecar, {"request_id": name, "score": 0.5})
    assert (again.status, again.json["learnt"]) == (200, False)
    assert "before" in again.json["why"]
    assert sidecar.app.runtime.decisions is not None
    await sidecar.app.runtime.decisions.close()
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row.get("kind") for row in rows] == [None, "feedback", "feedback"]
    assert rows[1]["request_id"] == name
    assert rows[1]["score"] == 1
    assert 0 < rows[1]["p"] < 1


@pytest.mark.parametrize("name", ["req_nobody", "x" * 5000])
async def test_a_score_of_an_unknown_request_is_404_and_says_why(
    start: Start, config: dict[str, Any], name: str
) -> None:
    sidecar = await start(config)
    reply = await score(sidecar, {"request_id": name, "score": 1})
    assert reply.status == 404
    assert reply.json["error"]["code"] == "request_not_found"
    assert "x-router-request-id" in reply.json["error"]["message"]


async def test_a_score_of_an_old_request_is_404(start: Start, config: dict[str, Any]) -> None:
    sidecar = await start({**config, "feedback": {"keep": 2}})
    names = [(await ask(sidecar)).header("x-router-request-id")[0] for _ in range(3)]
    replies = [await score(sidecar, {"request_id": name, "score": 1}) for name in names]
    assert [reply.status for reply in replies] == [404, 200, 200]


@pytest.mark.parametrize(
    "wrong",
    [
        {"score": 1.5},
        {"score": -0.1},
        {"score": "good"},
        {"score": True},
        {"score": None},
        {"request_id": ""},
        {"request_id": 7},
        {"request_id": None},
    ],
)
async def test_a_score_that_is_none_is_400(
    start: Start, config: dict[str, Any], wrong: dict[str, Any]
) -> None:
    sidecar = await start(config)
    reply = await score(sidecar, {"request_id": "req_x", "score": 1, **wrong})
    assert reply.status == 400
    assert reply.json["error"]["param"] == next(iter(wrong))
    for body in (b"", b"[]", b"{", b'{"request_id": "req_x"}'):
        assert (await score(sidecar, body)).status == 400


async def test_a_flood_of_scores_is_429_and_traffic_flows(
    start: Start, config: dict[str, Any]
) -> None:
    sidecar = await start({**config, "feedback": {"per_second": 1}})
    (name,) = (await ask(sidecar)).header("x-router-request-id")
    body = {"request_id": name, "score": 1}
    statuses = [(await score(sidecar, body)).status for _ in range(20)]
    assert statuses[:2] == [200, 200]
    assert statuses.count(429) >= 15
    assert (await ask(sidecar)).status == 200


async def test_feedback_is_for_the_operator_and_not_served_to_apps(
    start: Start, config: dict[str, Any]
) -> None:
    sidecar = await start(config)
    assert (await exchange(sidecar.app.listen, post({}, path="/v1/feedback"))).status == 404


async def test_abilities_follow_scores_without_a_restart_or_a_lost_request(
    start: Start, learning: dict[str, Any]
) -> None:
    sidecar = await start(learning, classifier=DummyReader(demanding))
    assert (await ask(sidecar)).header("x-router-model") == ["small"]
    generation = sidecar.app.runtime.snapshot.generation

    async def traffic() -> list[int]:
        return [(await ask(sidecar, f"text {n}")).status for n in range(60)]

    statuses, _ = await asyncio.gather(traffic(), dislike(sidecar, 60))
    assert set(statuses) == {200}
    assert (await ask(sidecar)).header("x-router-model") == ["large"]
    assert sidecar.app.runtime.snapshot.generation == generation
    # a reload keeps what was learnt
    reply = await exchange(sidecar.app.admin, post(b"", path="/admin/reload"))
    assert reply.status == 200
    assert (await ask(sidecar)).header("x-router-model") == ["large"]


async def test_what_was_learnt_survives_a_restart(
    start: Start, learning: dict[str, Any], tmp_path: Path
) -> None:
    first = await start(learning, classifier=DummyReader(demanding))
    await dislike(first, 60)
    await first.app.stop()
    assert (tmp_path / "learnt.json").exists()
    second = await start(learning, classifier=DummyReader(demanding))
    assert (await ask(second)).header("x-router-model") == ["large"]


async def test_a_corrupt_state_file_does_not_keep_it_from_serving(
    start: Start, learning: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "learnt.json").write_text('{"format": 1, "models": {"small"')
    sidecar = await start(learning, classifier=DummyReader(demanding))
    assert "kept as learnt.json.unusable-" in caplog.text
    assert (await ask(sidecar)).header("x-router-model") == ["small"]


async def test_without_learning_scores_are_counted_and_move_nothing(
    start: Start, config: dict[str, Any]
) -> None:
    sidecar = await start(config, classifier=DummyReader(demanding))
    before = sidecar.app.runtime.snapshot
    (name,) = (await ask(sidecar)).header("x-router-request-id")
    reply = await score(sidecar, {"request_id": name, "score": 0})
    assert (reply.status, reply.json["learnt"]) == (200, False)
    assert "learning" in reply.json["why"]
    assert sidecar.app.runtime.snapshot is before
    told = await exchange(sidecar.app.admin, post(b"", path="/metrics", method="GET"))
    assert b'router_feedback_score_count{model="' in told.body


async def test_the_same_question_again_counts_a_little_against_its_answer(
    start: Start, learning: dict[str, Any]
) -> None:
    sidecar = await start(learning, classifier=DummyReader(demanding))
    for _ in range(3):
        await ask(sidecar, "why is the sky blue")
    runtime = sidecar.app.runtime
    async with asyncio.timeout(20):
        while not runtime.snapshot.learnt:
            await asyncio.sleep(0.05)
    assert runtime.learning is not None
    assert runtime.learning.weight("small") == pytest.approx(0.1)


async def test_workers_learn_as_one_and_spend_as_one(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    spent = {"per": "route", "only": "large", "period": "day", "at_limit": "refuse"}
    config |= {
        "learning": {},
        "classifier": {"deadline_ms": 5000},
        "budgets": {"named": {**spent, "tokens": 18 * 6}},
        "spending": {"every_s": 0.1},
    }
    config["routes"]["auto"] |= {"default": "small"}
    options = ("--workers", "3", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    process = await serve(tmp_path / "w.yaml", config, *options)

    async def answer_of(number: int) -> Reply:  # the kernel spreads connections over workers
        reply = await exchange(process.listen, post(chat(f"What is {number} plus {number}?")))
        assert reply.status == 200
        return reply

    try:
        await process.serving()
        for number in range(60):
            asked = await answer_of(number)
            body = {"request_id": asked.header("x-router-request-id")[0], "score": 0}
            if asked.header("x-router-model") == ["small"]:
                reply = await exchange(process.admin, post(body, path="/v1/feedback"))
                assert (reply.status, reply.json["learnt"]) == (200, True)
        async with asyncio.timeout(60):
            while True:
                said = [(await answer_of(n)).header("x-router-model")[0] for n in range(12)]
                if set(said) == {"large"}:
                    break
        statuses = []
        for _ in range(24):
            reply = await exchange(process.listen, post(chat(model="large")))
            statuses.append(reply.status)
            await asyncio.sleep(0.05)
        assert 6 <= statuses.count(200) <= 14  # six, and what was not shared yet
        assert statuses[-1] == 429
    finally:
        await process.kill()
