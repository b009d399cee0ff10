"""``previous_response_id``: a conversation that its upstream keeps stays where it is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import openai
import orjson
import pytest
import yaml

from tests.conftest import Running, Start, config_for
from tests.support.raw_upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    RawUpstream,
    Seen,
    answer,
    chunk,
    raw,
)
from tests.support.wire import Reply, exchange, post

UNKNOWN = b'{"error":{"message":"No such answer.","code":"previous_response_not_found"}}'


class Keeper:
    """An upstream that keeps what it answered, as the Responses API does."""

    def __init__(self, server: RawUpstream, name: str) -> None:
        self.server = server
        self.name = name
        self.kept: set[str] = set()
        self.down = False
        server.script = self.play

    async def play(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        before = seen.json.get("previous_response_id")
        if self.down:
            await answer(b"{}", "503 Down")(seen, writer)
            return
        if before is not None and before not in self.kept:
            await answer(UNKNOWN, "400 Bad Request")(seen, writer)
            return
        own = f"resp_{self.name}_{len(self.kept)}"
        self.kept.add(own)
        body: dict[str, Any] = {
            "id": own, "object": "response", "created_at": 1, "model": "m", "status": "completed",
            "output": [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
            "usage": {"input_tokens": 20, "output_tokens": 5, "total_tokens": 25},
        }  # fmt: skip
        if not seen.json.get("stream"):
            await answer(orjson.dumps(body))(seen, writer)
            return
        begun = {"type": "response.created", "response": {**body, "status": "in_progress"}}
        delta = {"type": "response.output_text.delta", "item_id": "i", "output_index": 0,
                 "content_index": 0, "delta": "hi", "logprobs": []}  # fmt: skip
        ended = {"type": "response.completed", "response": body}
        events = [
            b"data: %s\n\n" % orjson.dumps({**each, "sequence_number": i})
            for i, each in enumerate((begun, delta, ended))
        ]
        await raw(STREAM_HEAD, *map(chunk, events), LAST_CHUNK, close=False)(seen, writer)


@pytest.fixture
def keepers(upstream: RawUpstream, second: RawUpstream) -> tuple[Keeper, Keeper]:
    return Keeper(upstream, "first"), Keeper(second, "second")


async def ask(sidecar: Running, text: str = "hi", **fields: Any) -> Reply:
    body = {"model": "auto", "input": text, **fields}
    return await exchange(sidecar.app.listen, post(body, path="/v1/responses"))


def routed(reply: Reply) -> tuple[int, str, str]:
    (model,), (reason,) = reply.header("x-router-model"), reply.header("x-router-reason")
    return reply.status, model, reason


Two = tuple[Keeper, Keeper]


async def test_a_request_goes_back_to_the_model_that_gave_the_answer_it_names(
    start: Start, config: dict[str, object], keepers: Two
) -> None:
    sidecar = await start(config)
    hard = await ask(sidecar, "HARD")
    assert routed(hard)[1] == "large"
    easy = await ask(sidecar, "easy")
    assert routed(easy)[1] == "small"
    for _ in range(3):  # the texts alone would send each to the other model
        hard = await ask(sidecar, "easy", previous_response_id=hard.json["id"])
        assert routed(hard) == (200, "large", "session")
        easy = await ask(sidecar, "HARD", previous_response_id=easy.json["id"])
        assert routed(easy) == (200, "small", "session")
    said = sidecar.app.runtime.telemetry.exposition().decode()
    assert 'router_continued_answers_total{result="pinned"} 6.0' in said


async def test_a_streamed_answer_is_remembered_by_the_official_client(
    start: Start, config: dict[str, object], keepers: Two
) -> None:
    sidecar = await start(config)
    async with openai.AsyncOpenAI(base_url=sidecar.url, api_key="app", max_retries=0) as client:
        before = None
        for text in ("HARD", "easy", "easy"):
            more: dict[str, Any] = {} if before is None else {"previous_response_id": before}
            events = await client.responses.create(model="auto", input=text, stream=True, **more)
            last = [event async for event in events][-1]
            assert last.type == "response.completed"
            before = last.response.id
            assert before.startswith("resp_second_")  # large's
    first, second = keepers
    assert (len(first.server.seen), len(second.server.seen)) == (0, 3)


@pytest.fixture
async def pair(start: Start, upstream: RawUpstream, second: RawUpstream) -> Running:
    """Both models on one upstream with two addresses, which keep their own answers."""
    config: dict[str, Any] = config_for(upstream.url)
    for each in config["upstreams"].values():
        each["replicas"] = [second.url]
    config["routes"]["auto"].update(policy="fixed", default="small")
    return await start(config)


async def test_of_several_replicas_the_one_that_gave_it_is_asked(
    pair: Running, keepers: Two
) -> None:
    first = await ask(pair)
    by = first.json["id"].split("_")[1]
    own, other = keepers if by == "first" else keepers[::-1]
    for model in ("auto", "auto", "small", "small", "auto"):
        busy = loaded(pair, own.server.url)
        try:  # the least loaded is the other one
            reply = await ask(pair, model=model, previous_response_id=first.json["id"])
        finally:
            busy()
        assert reply.status == 200
        assert reply.header("x-router-reason") == ["session" if model == "auto" else "explicit"]
    assert other.server.seen == []


def loaded(sidecar: Running, address: str) -> Callable[[], None]:
    """Load on one address; the return takes it off again."""
    runtime = sidecar.app.runtime
    spec = next(s for s in runtime.snapshot.models["small"].replicas if s.base_url == address)
    replica = runtime.health.begin(spec)
    return lambda: runtime.health.ended(replica)


async def test_where_that_replica_fails_nobody_else_is_asked(pair: Running, keepers: Two) -> None:
    first = await ask(pair)
    own, other = keepers if first.json["id"].startswith("resp_first") else keepers[::-1]
    own.down = True
    reply = await ask(pair, previous_response_id=first.json["id"])
    # elsewhere it would have been a 400 that says the conversation is lost: it is not
    assert reply.status == 503
    assert other.server.seen == []
    own.down = False
    assert routed(await ask(pair, previous_response_id=first.json["id"]))[0] == 200


async def test_an_unknown_answer_is_routed_as_any_request_and_the_upstream_has_the_word(
    start: Start, config: dict[str, object], keepers: Two
) -> None:
    sidecar = await start(config)
    reply = await ask(sidecar, previous_response_id="resp_of_yesterday")
    assert routed(reply) == (400, "small", "policy")
    assert reply.body == UNKNOWN  # unchanged, and not asked for elsewhere
    assert keepers[1].server.seen == []


async def test_one_callers_answer_is_unknown_to_another(
    start: Start, config: dict[str, object], keepers: Two
) -> None:
    sidecar = await start(config)

    async def as_caller(key: str, **fields: Any) -> str:
        headers = {"Authorization": f"Bearer {key}"}
        body = {"model": "auto", "input": "easy", **fields}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{sidecar.url}/responses", json=body) as response,
        ):
            said = await response.json()
            return f"{response.headers['x-router-reason']} {said.get('id', '')}"

    _, mine = (await as_caller("a")).split()
    assert (await as_caller("a", previous_response_id=mine)).startswith("session ")
    # its text was read for the first caller already: no session holds it
    assert (await as_caller("b", previous_response_id=mine)).startswith("cache ")


async def test_the_kill_switch_is_stronger(
    start: Start, config: dict[str, object], keepers: Two
) -> None:
    sidecar = await start(config)
    hard = await ask(sidecar, "HARD")
    sidecar.app.runtime.pin("small")
    reply = await ask(sidecar, previous_response_id=hard.json["id"])
    assert routed(reply) == (400, "small", "kill-switch")
    sidecar.app.runtime.unpin()
    assert routed(await ask(sidecar, previous_response_id=hard.json["id"]))[1] == "large"


async def test_a_reload_that_takes_the_address_away_lets_go(
    start: Start, config: dict[str, Any], keepers: Two
) -> None:
    sidecar = await start(config)
    hard = await ask(sidecar, "HARD")
    config["upstreams"]["other"]["base_url"] = keepers[0].server.url
    file = sidecar.app.runtime.config_file
    told = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**told, "upstreams": config["upstreams"]}, sort_keys=False))
    sidecar.app.runtime.reload()
    reply = await ask(sidecar, "HARD two", previous_response_id=hard.json["id"])
    assert routed(reply) == (400, "large", "policy")
    assert len(keepers[1].server.seen) == 1  # an address that is not configured is not asked
