"""An answer is given again only to the very same request of the very same caller."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest
import yaml

from tests.conftest import Running, Start
from tests.support.raw_upstream import ANSWER, DONE, RawUpstream, answer, event, stream
from tests.support.wire import Reply, chat, exchange, post

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
JSON = "Content-Type: application/json\r\n"


@pytest.fixture
def config(config: dict[str, Any]) -> dict[str, Any]:
    config["routes"]["auto"]["response_cache"] = {"ttl_s": 60, "max_mb": 1}
    return config


@pytest.fixture
async def sidecar(start: Start, config: dict[str, Any]) -> Running:
    return await start(config)


async def ask(sidecar: Running, text: str = "hello", headers: str = "", **fields: Any) -> Reply:
    body = chat(text, **{"temperature": 0, **fields})
    return await exchange(sidecar.app.listen, post(body, headers=JSON + headers))


def again(reply: Reply) -> bool:
    """Whether it was given again, and says so."""
    aged = bool(reply.header("age"))
    said = [step for step in reply.header("server-timing")[0].split(", ") if "upstream" in step]
    assert aged is not bool(said)
    if aged:
        assert reply.header("x-router-reason") == ["cache"]
    return aged


async def test_the_same_request_gets_the_same_answer_and_nobody_is_asked(
    sidecar: Running, upstream: RawUpstream
) -> None:
    upstream.script = answer(
        headers="Content-Type: application/json\r\nSet-Cookie: a=b\r\nX-Up: 1\r\n"
    )
    first, second = await ask(sidecar), await ask(sidecar)
    assert (again(first), again(second)) == (False, True)
    assert second.json == ANSWER
    assert first.body == second.body
    assert second.header("content-type") == ["application/json"]
    assert second.header("content-length") == [str(len(first.body))]
    assert second.header("x-router-model") == ["small"]
    assert second.header("set-cookie") == second.header("x-up") == []
    assert first.header("x-router-request-id") != second.header("x-router-request-id")
    assert len(upstream.seen) == 1


async def test_a_stream_is_given_again_as_a_stream(sidecar: Running, upstream: RawUpstream) -> None:
    upstream.script = stream(event({"content": "Hel"}), event({"content": "lo"}), DONE)
    first, second = await ask(sidecar, stream=True), await ask(sidecar, stream=True)
    assert (again(first), again(second)) == (False, True)
    assert first.body == second.body
    assert second.header("content-type") == ["text/event-stream"]
    assert second.header("x-accel-buffering") == ["no"]
    assert second.header("transfer-encoding") == ["chunked"]
    assert not again(await ask(sidecar))  # whole, it is another request


OTHERS: list[dict[str, Any]] = [
    {"text": "hello "},
    {"text": "Hello"},
    {"seed": 1},
    {"max_tokens": 5},
    {"temperature": 0.0},  # the same wish in other bytes: exact means exact
    {"headers": "Authorization: Bearer other\r\n"},
    {"headers": "x-api-key: other\r\n"},
    {"headers": "x-router-tenant: other\r\n"},
    {"headers": "x-router-quality: 0.5\r\n"},
    {"headers": "openai-organization: other\r\n"},
    {"headers": "X-Anything: else\r\n"},
    {"headers": "Accept-Encoding: gzip\r\n"},
]


@pytest.mark.parametrize("other", OTHERS, ids=map(str, OTHERS))
async def test_another_request_or_caller_never_gets_it(
    sidecar: Running, upstream: RawUpstream, other: dict[str, Any]
) -> None:
    await ask(sidecar)
    assert not again(await ask(sidecar, **other))
    assert again(await ask(sidecar))
    assert again(await ask(sidecar, headers="User-Agent: x\r\ntraceparent: 00-1-1-00\r\n"))


NEVER: list[dict[str, Any]] = [
    {"temperature": 0.7},
    {"temperature": None},
    {"tools": TOOLS},
    {"model": "small"},
]


@pytest.mark.parametrize("fields", NEVER, ids=map(str, NEVER))
async def test_what_may_be_answered_otherwise_is_asked_each_time(
    sidecar: Running, fields: dict[str, Any]
) -> None:
    assert not again(await ask(sidecar, **fields))
    assert not again(await ask(sidecar, **fields))


async def test_unless_the_route_says_so(start: Start, config: dict[str, Any]) -> None:
    config["routes"]["auto"]["response_cache"] |= {"sampled": True, "tools": True, "shared": True}
    sidecar = await start(config)
    fields: dict[str, Any] = {"temperature": None, "tools": TOOLS}
    assert not again(await ask(sidecar, **fields))
    assert again(await ask(sidecar, headers="Authorization: Bearer other\r\n", **fields))


@pytest.mark.parametrize("status", ["201 Created", "400 Bad Request", "302 Found"])
async def test_only_a_whole_200_is_kept(
    sidecar: Running, upstream: RawUpstream, status: str
) -> None:
    upstream.script = answer(status=status)
    await ask(sidecar)
    assert not again(await ask(sidecar))


async def test_a_stream_without_its_end_is_not_kept(
    sidecar: Running, upstream: RawUpstream
) -> None:
    upstream.script = stream(event({"content": "Hel"}))
    await ask(sidecar, stream=True)
    assert not again(await ask(sidecar, stream=True))


async def test_a_fallbacks_answer_is_not_kept(sidecar: Running, upstream: RawUpstream) -> None:
    upstream.script = answer(status="503 Busy")
    await ask(sidecar)
    assert not again(await ask(sidecar))


async def test_a_compressed_answer_is_given_again_as_it_came(
    sidecar: Running, upstream: RawUpstream
) -> None:
    packed = gzip.compress(orjson.dumps(ANSWER))
    upstream.script = answer(packed, headers=f"{JSON}Content-Encoding: gzip\r\n")
    headers = "Accept-Encoding: gzip\r\n"
    await ask(sidecar, headers=headers)
    reply = await ask(sidecar, headers=headers)
    assert again(reply)
    assert (reply.header("content-encoding"), reply.body) == (["gzip"], packed)


async def test_the_kill_switch_goes_before_what_is_kept(sidecar: Running) -> None:
    await ask(sidecar)
    sidecar.app.runtime.pin("large")
    reply = await ask(sidecar)
    assert not again(reply)
    assert reply.header("x-router-model") == ["large"]
    sidecar.app.runtime.pin("small")
    assert (await ask(sidecar)).header("x-router-model") == ["small"]


async def test_a_reload_begins_with_nothing(sidecar: Running, config: dict[str, Any]) -> None:
    await ask(sidecar)
    config["drain_s"] = 3
    sidecar.app.runtime.config_file.write_text(yaml.safe_dump(config, sort_keys=False))
    assert (await exchange(sidecar.app.admin, post(b"", path="/admin/reload"))).status == 200
    assert not again(await ask(sidecar))
    assert again(await ask(sidecar))


async def test_memory_is_bounded(sidecar: Running, upstream: RawUpstream) -> None:
    body = orjson.dumps({**ANSWER, "padding": "x" * 100_000})
    upstream.script = answer(body)
    for i in range(15):
        await ask(sidecar, f"hello {i}")
    assert not again(await ask(sidecar, "hello 0"))
    assert again(await ask(sidecar, "hello 14"))
    upstream.script = answer(orjson.dumps({**ANSWER, "padding": "x" * 200_000}))
    await ask(sidecar, "long")  # over an eighth of the room: not worth what it would push out
    assert not again(await ask(sidecar, "long"))
    metrics = (await exchange(sidecar.app.admin, post(b"", path="/metrics", method="GET"))).body
    line = next(x for x in metrics.splitlines() if x.startswith(b"router_response_cache_bytes{"))
    assert 0 < float(line.split()[-1]) <= 2**20
    assert b'router_cache_lookups_total{cache="response",result="exact"} 1.0' in metrics


async def test_no_route_keeps_answers_that_was_not_asked_to(
    start: Start, config: dict[str, Any]
) -> None:
    del config["routes"]["auto"]["response_cache"]
    sidecar = await start(config)
    await ask(sidecar)
    assert not again(await ask(sidecar))
