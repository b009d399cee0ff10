"""What the process remembers, as an app and an operator see it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from sidecar.classify.dummy import DummyReader
from tests.conftest import Running, Start, by_word
from tests.support.raw_upstream import RawUpstream, answer
from tests.support.wire import Reply, chat, exchange, post


async def ask(sidecar: Running, text: str = "hello", headers: str = "", **fields: Any) -> Reply:
    sent = f"Content-Type: application/json\r\n{headers}"
    return await exchange(sidecar.app.listen, post(chat(text, **fields), headers=sent))


async def admin(sidecar: Running, path: str, body: Any = b"") -> Reply:
    return await exchange(sidecar.app.admin, post(body, path=path))


def said(reply: Reply) -> tuple[str, str]:
    return reply.header("x-router-model")[0], reply.header("x-router-reason")[0]


async def test_a_text_that_was_read_before_is_not_read_again(
    start: Start, config: dict[str, Any]
) -> None:
    reader = DummyReader(by_word)
    sidecar = await start(config, classifier=reader)
    read = len(reader.batches)
    assert said(await ask(sidecar)) == ("small", "policy")
    assert said(await ask(sidecar)) == ("small", "cache")
    assert said(await ask(sidecar, "HARD")) == ("large", "policy")
    assert said(await ask(sidecar, "HARD")) == ("large", "cache")
    assert len(reader.batches) == read + 2
    reply = await ask(sidecar)
    assert "cache;dur=" in reply.header("server-timing")[0]
    assert "classify" not in reply.header("server-timing")[0]


async def test_what_a_request_needs_or_may_cost_is_decided_anew_over_a_remembered_reading(
    start: Start, config: dict[str, Any]
) -> None:
    sidecar = await start(config)
    assert said(await ask(sidecar)) == ("small", "policy")
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    seeing = [{"role": "user", "content": [{"type": "text", "text": "hello"}, picture]}]
    assert said(await ask(sidecar, messages=seeing)) == ("large", "capability")
    assert said(await ask(sidecar, max_tokens=100_000))[0] == "large"  # no room in the small one
    assert said(await ask(sidecar, headers="x-router-quality: 0.001\r\n")) == ("small", "cache")
    assert said(await ask(sidecar, "HARD")) == ("large", "policy")
    cheap = await ask(sidecar, "HARD", headers="x-router-max-cost-usd: 0.001\r\n")
    assert said(cheap) == ("small", "budget")


async def test_a_reload_is_heeded_by_texts_that_were_read_before_it(
    start: Start, config: dict[str, Any]
) -> None:
    sidecar = await start(config)
    assert said(await ask(sidecar)) == ("small", "policy")
    config["routes"]["auto"] |= {"policy": "threshold", "threshold": 1.0}
    sidecar.app.runtime.config_file.write_text(yaml.safe_dump(config, sort_keys=False))
    assert (await admin(sidecar, "/admin/reload")).status == 200
    assert said(await ask(sidecar)) == ("large", "cache")


async def test_explain_says_that_a_reading_is_remembered(
    start: Start, config: dict[str, Any]
) -> None:
    sidecar = await start(config)
    body = chat()
    assert (await admin(sidecar, "/admin/explain", body)).json["reason"] == "policy"
    await ask(sidecar)
    story = (await admin(sidecar, "/admin/explain", body)).json
    assert story["reason"] == "cache"
    steps = {step["stage"]: step["verdict"] for step in story["steps"]}
    assert "remembered (exact)" in steps["cache"]
    assert "classifier" not in steps


async def test_common_prompts_are_read_when_the_sidecar_starts(
    start: Start, config: dict[str, Any], tmp_path: Path
) -> None:
    rows = [{"prompt": "good morning"}, {"messages": [{"role": "user", "content": "HARD"}]}, [], 7]
    (tmp_path / "common.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    config["decision_cache"] = {"common": "common.jsonl"}
    sidecar = await start(config)
    async with asyncio.timeout(20):
        while len(sidecar.app.runtime.readings) < 2:
            await asyncio.sleep(0.01)
    assert said(await ask(sidecar, "good morning")) == ("small", "cache")
    assert said(await ask(sidecar, "HARD")) == ("large", "cache")


@pytest.mark.parametrize("near", [True, False])
async def test_numbers_that_vary_share_a_reading_once_it_is_shown_that_they_may(
    start: Start, config: dict[str, Any], near: bool
) -> None:
    config["decision_cache"] = {"near": near}
    reader = DummyReader(by_word)
    sidecar = await start(config, classifier=reader)
    reasons = [said(await ask(sidecar, f"Where is order {i}?"))[1] for i in range(100, 110)]
    # the dummy encoder has no demand vector and gives every easy text the same reading,
    # which proves nothing: only texts that read alike and not the same do
    assert reasons == ["policy"] * 10
    reader.answer = lambda window: by_word(window).__class__(
        0.02 + (sum(window.encode()) % 7) / 1e4, version="dummy-1"
    )
    reasons = [said(await ask(sidecar, f"Where is case {i}?"))[1] for i in range(100, 130)]
    assert ("cache" in reasons) is near


# -- sessions ---------------------------------------------------------------------------


def usage(question: int, cached: int, output: int) -> bytes:
    """The body of a chat completion that counts."""
    message = {"role": "assistant", "content": "hello"}
    said = {
        "id": "c",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": question,
            "completion_tokens": output,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    }
    return orjson.dumps(said)


async def test_a_conversation_stays_while_leaving_would_cost_its_cache(
    start: Start, config: dict[str, Any], second: RawUpstream
) -> None:
    config["models"]["small"]["price"] = {"input": 0.25, "output": 9.0}
    config["models"]["large"]["price"] = {"input": 3.0, "cached_input": 0.3, "output": 15.0}
    config["models"]["small"]["context"] = 128_000
    sidecar = await start(config)
    second.script = answer(usage(20_000, 0, 20))
    history = [{"role": "user", "content": "HARD " + "word " * 15_000}]
    assert said(await ask(sidecar, messages=history)) == ("large", "policy")
    history += [{"role": "assistant", "content": "hello"}, {"role": "user", "content": "thanks"}]
    second.script = answer(usage(20_030, 20_020, 20))
    assert said(await ask(sidecar, messages=history)) == ("large", "session")
    story = (await admin(sidecar, "/admin/explain", chat(messages=history))).json
    assert story["reason"] == "session"
    assert story["steps"][-1]["stage"] == "session"
    # alone, the last turn is an easy one
    assert said(await ask(sidecar, "thanks"))[0] == "small"


async def test_a_tool_loop_stays_with_the_model_that_called(
    start: Start, config: dict[str, Any]
) -> None:
    config["routes"]["auto"]["rules"] = [
        {"name": "long", "when": {"min_tokens": 1000}, "model": "large"}
    ]
    sidecar = await start(config)
    name = "x-router-session: one\r\n"
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    history: list[dict[str, Any]] = [{"role": "user", "content": "look it up"}]
    assert said(await ask(sidecar, messages=history, tools=tools, headers=name))[0] == "small"
    history += [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function"}]},
        {"role": "tool", "tool_call_id": "c", "content": "HARD " * 2000},
    ]
    stays = await ask(sidecar, messages=history, tools=tools, headers=name)
    assert said(stays) == ("small", "session")
    other = await ask(sidecar, messages=history, tools=tools, headers="x-router-session: two\r\n")
    assert said(other) == ("large", "rule:long")
