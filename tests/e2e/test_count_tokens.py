"""Anthropic's clients count before they send: passed on to a model that speaks messages."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import openai
import orjson
import pytest

from sidecar.app import App
from tests.conftest import Start, config_for
from tests.support.raw_upstream import RawUpstream, answer, raw
from tests.support.wire import Wire, post

COUNT = orjson.dumps({"input_tokens": 14})
HI: Any = [{"role": "user", "content": "hi"}]


def speaking(url: str, second: str | None = None, **large: object) -> dict[str, Any]:
    """The usual two models, both of them Anthropic's."""
    config: dict[str, Any] = config_for(url, second)
    for spec in config["upstreams"].values():
        spec["dialect"] = "anthropic"
    config["models"]["large"] |= large
    return config


def client_of(app: App) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        base_url=f"http://{app.listen}", api_key="callers-own", max_retries=0
    )


async def test_a_count_is_the_routes_defaults_and_is_no_decision(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    second.script = answer(COUNT)
    running = await start(speaking(upstream.url, second.url))
    async with client_of(running.app) as claude:
        said = await claude.messages.with_raw_response.count_tokens(
            model="auto", messages=HI, system="Be brief.", extra_query={"beta": "true"}
        )
        named = await claude.messages.with_raw_response.count_tokens(model="large", messages=HI)
    assert (await said.parse()).input_tokens == 14
    assert not upstream.seen
    first, _ = second.seen
    assert first.line.startswith("POST /v1/messages/count_tokens?beta=true ")
    assert first.json == {"model": "huge-1", "messages": HI, "system": "Be brief."}
    assert first.header("anthropic-version")
    assert not first.header("x-api-key")
    told = [(h["x-router-model"], h["x-router-route"], h["x-router-reason"])
            for h in (said.headers, named.headers)]  # fmt: skip
    assert told == [("large", "auto", "default"), ("large", "-", "explicit")]
    metrics = running.app.runtime.telemetry.exposition().decode()
    assert "router_decisions_total{" not in metrics
    assert "router_answers_total{" not in metrics
    assert running.app.runtime.recent.total == 0
    assert len(running.app.runtime.sessions) == 0


async def test_one_that_fails_is_asked_of_the_next(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    upstream.script = answer(COUNT)
    second.script = answer(b"{}", "500 Internal Server Error")
    running = await start(speaking(upstream.url, second.url))
    async with client_of(running.app) as claude:
        said = await claude.messages.with_raw_response.count_tokens(model="auto", messages=HI)
    assert (await said.parse()).input_tokens == 14
    assert said.headers["x-router-reason"] == "fallback:1"
    assert upstream.seen[0].json["model"] == "tiny-1"


async def test_where_nobody_answers_the_client_hears_it_in_its_own_shape(
    start: Start, upstream: RawUpstream
) -> None:
    upstream.script = raw()
    running = await start(speaking(upstream.url))
    async with client_of(running.app) as claude:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await claude.messages.count_tokens(model="auto", messages=HI)
    assert caught.value.status_code == 502
    assert caught.value.response.headers["x-router-model"] == "large"


async def test_only_what_speaks_messages_is_asked(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    upstream.script = answer(COUNT)
    config = speaking(upstream.url, second.url)
    config["upstreams"]["other"]["dialect"] = "openai"
    running = await start(config)
    async with client_of(running.app) as claude:
        said = await claude.messages.with_raw_response.count_tokens(model="auto", messages=HI)
        assert said.headers["x-router-reason"] == "capability"
        assert upstream.seen[0].json["model"] == "tiny-1"
        lack = "large has no messages dialect.*one whose upstream's `dialect` is that of messages"
        with pytest.raises(anthropic.BadRequestError, match=lack):
            await claude.messages.count_tokens(model="large", messages=HI)
        with pytest.raises(anthropic.NotFoundError, match="No model or route is called 'nobody'"):
            await claude.messages.count_tokens(model="nobody", messages=HI)
        running.app.runtime.pin("large")
        with pytest.raises(anthropic.BadRequestError, match="large has no messages dialect"):
            await claude.messages.count_tokens(model="auto", messages=HI)
    assert not second.seen


async def test_a_count_is_of_the_prompt_that_the_model_would_get_and_asks_nothing_else(
    start: Start, upstream: RawUpstream
) -> None:
    upstream.script = answer(COUNT)
    changes = {
        "system_prompt": {"prefix": "Speak plainly."},
        "max_tokens": 100,
        "temperature": 1,
        "set": {"service_tier": "auto"},
    }
    running = await start(speaking(upstream.url, overrides=changes))
    async with client_of(running.app) as claude:
        await claude.messages.count_tokens(model="large", messages=HI)
    assert upstream.seen[0].json == {
        "system": "Speak plainly.",
        "model": "huge-1",
        "messages": HI,
    }


async def test_it_is_posted_and_of_anthropics_api_alone(
    start: Start, upstream: RawUpstream
) -> None:
    running = await start(speaking(upstream.url))
    base = f"http://{running.app.listen}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key="app", max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.get("/messages/count_tokens", cast_to=object)
        assert caught.value.status_code == 405
        with pytest.raises(openai.NotFoundError, match="POST /v1/messages/count_tokens"):
            await client.post("/messages/batches", cast_to=object, body={})
    assert not upstream.seen


async def test_a_caller_who_leaves_takes_the_count_along(
    start: Start, upstream: RawUpstream
) -> None:
    upstream.script = raw(600.0)
    running = await start(speaking(upstream.url))
    async with asyncio.timeout(60):
        async with await Wire.to(running.app.listen) as wire:
            body = {"model": "auto", "messages": HI}
            wire.send(post(body, path="/v1/messages/count_tokens"))
            await upstream.asked.wait()
        await upstream.gone.wait()
        while running.app.runtime.telemetry.in_flight.value:
            await asyncio.sleep(0.01)
