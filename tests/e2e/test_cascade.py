"""A cascade over real sockets: the app sees one answer, the log both."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from sidecar.classify.dummy import DummyReader
from sidecar.types import Reading
from tests.conftest import Running, Start
from tests.support.raw_upstream import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    RawUpstream,
    answer,
    chunk,
    event,
    stream,
)
from tests.support.wire import Reply, Wire, chat, exchange, post


def whole(text: str, tokens: int = 10) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 1000, "completion_tokens": tokens}
    return orjson.dumps({"object": "chat.completion", "choices": [choice], "usage": usage})


@pytest.fixture
async def sidecar(start: Start, config: dict[str, Any], tmp_path: Path) -> Running:
    config["routes"]["auto"] |= {
        "policy": "cascade",
        "quality": 1.0,
        "cascade": {"try_above": 0.1, "hold_kb": 1},
    }
    config["decision_log"] = {"file": str(tmp_path / "log.jsonl")}
    config["budgets"] = {"all": {"per": "all", "period": "day", "usd": 1.0}}
    reader = DummyReader(lambda window: Reading(difficulty=0.5, version="dummy-1"))
    return await start(config, classifier=reader)


async def ask(sidecar: Running, **fields: Any) -> Reply:
    return await exchange(sidecar.app.listen, post(chat("hello there", **fields)))


def came_from(reply: Reply) -> tuple[int, str, str]:
    return reply.status, reply.header("x-router-model")[0], reply.header("x-router-reason")[0]


async def test_an_answer_that_passes_is_the_one_the_app_gets(
    sidecar: Running, upstream: RawUpstream, second: RawUpstream
) -> None:
    upstream.script = answer(whole("Hello."))
    reply = await ask(sidecar)
    assert came_from(reply) == (200, "small", "policy")
    assert reply.body == whole("Hello.")
    assert second.seen == []


async def test_one_that_does_not_is_never_seen_and_both_are_paid_for(
    sidecar: Running, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    upstream.script = answer(whole("I can't help with that.", 50))
    second.script = answer(whole("Gladly."))
    reply = await ask(sidecar)
    assert came_from(reply) == (200, "large", "fallback:1")
    assert reply.body == whole("Gladly.")
    await sidecar.app.runtime.decisions.close()  # type: ignore[union-attr]
    row = orjson.loads((tmp_path / "log.jsonl").read_bytes().splitlines()[-1])
    assert row["failed"] == [
        {"model": "small", "why": "check: it refuses", "cost_usd": pytest.approx(7.35e-5)}
    ]
    (spent,) = sidecar.app.runtime.budgets.table()[0]["subjects"]  # type: ignore[union-attr]
    assert spent["tokens"] == 1050 + 1010
    assert spent["usd"] == pytest.approx(row["cost_usd"] + 7.35e-5)
    assert row["cost_usd"] == pytest.approx(0.0026)


async def test_a_stream_is_held_until_it_has_passed(
    sidecar: Running, upstream: RawUpstream, second: RawUpstream
) -> None:
    cut = {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
    upstream.script = stream(
        event({"content": "Once"}), b"data: " + orjson.dumps(cut) + b"\n\n", DONE
    )
    good = event({"content": "There was"}) + DONE
    second.script = stream(good)
    reply = await ask(sidecar, stream=True)
    assert came_from(reply) == (200, "large", "fallback:1")
    assert reply.body == good
    upstream.script = stream(event({"content": "Hi "}), event({"content": "there."}), DONE)
    reply = await ask(sidecar, stream=True)
    assert came_from(reply) == (200, "small", "cache")
    assert reply.body == event({"content": "Hi "}) + event({"content": "there."}) + DONE


async def test_what_is_longer_than_may_be_held_is_passed_on(
    sidecar: Running, upstream: RawUpstream
) -> None:
    long = event({"content": "I can't help with that. " * 100})
    go_on = asyncio.Event()

    async def play(seen: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(long))
        await go_on.wait()
        writer.write(chunk(DONE) + LAST_CHUNK)

    upstream.script = play
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat("hello there", stream=True)))
        head = await wire.head()
        assert head.header("x-router-model") == ["small"]
        assert await wire.chunk() == long  # before the upstream has ended
        go_on.set()
        assert await wire.chunk() == DONE


async def test_a_stream_that_breaks_while_it_is_held_is_asked_of_the_next(
    sidecar: Running, upstream: RawUpstream, second: RawUpstream
) -> None:
    upstream.script = stream(event({"content": "Hi"}))  # and no end
    second.script = answer(whole("Gladly."))
    assert came_from(await ask(sidecar, stream=True)) == (200, "large", "fallback:1")


async def test_where_nobody_else_answers_the_held_answer_is_better_than_none(
    sidecar: Running, upstream: RawUpstream, second: RawUpstream, tmp_path: Path
) -> None:
    upstream.script = answer(whole("I can't help with that."))
    second.script = answer(status="503 Busy")
    reply = await ask(sidecar)
    assert came_from(reply) == (200, "small", "policy")
    assert reply.body == whole("I can't help with that.")
    await sidecar.app.runtime.decisions.close()  # type: ignore[union-attr]
    row = orjson.loads((tmp_path / "log.jsonl").read_bytes().splitlines()[-1])
    assert [f["model"] for f in row["failed"]] == ["large"]
