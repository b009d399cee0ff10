"""A streamed answer is counted, and the app sees only what it asked for."""

from __future__ import annotations

import aiohttp
import orjson
import pytest

from tests.conftest import Start, config_for
from tests.support.raw_upstream import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    RawUpstream,
    chunk,
    event,
    raw,
)

COUNT = b"data: " + orjson.dumps(
    {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }
)
EVENTS = event({"role": "assistant"}) + event({"content": "hi"}) + event({}, "stop")


async def ask(url: str, **more: object) -> bytes:
    body = {
        "model": "small",
        "stream": True,
        "messages": [{"role": "user", "content": "hi"}],
        **more,
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/chat/completions", json=body) as response,
    ):
        assert response.status == 200
        return await response.read()


async def metrics(admin: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{admin}/metrics") as response:
        return await response.text()


async def test_the_extra_event_is_counted_and_not_passed_on(
    start: Start, upstream: RawUpstream
) -> None:
    whole = EVENTS + COUNT + b"\n\n" + DONE
    upstream.script = raw(STREAM_HEAD, chunk(whole), LAST_CHUNK, close=False)
    sidecar = await start(config_for(upstream.url))
    assert await ask(sidecar.url) == EVENTS + DONE
    (seen,) = upstream.seen
    assert seen.json["stream_options"] == {"include_usage": True}
    assert seen.header("accept-encoding") == ["identity"]
    said = await metrics(sidecar.admin)
    assert 'router_tokens_total{kind="input",model="small",route="-"} 11.0' in said
    assert 'router_tokens_total{kind="output",model="small",route="-"} 7.0' in said


async def test_an_app_that_asked_gets_the_event(start: Start, upstream: RawUpstream) -> None:
    whole = EVENTS + COUNT + b"\n\n" + DONE
    upstream.script = raw(STREAM_HEAD, chunk(whole), LAST_CHUNK, close=False)
    sidecar = await start(config_for(upstream.url))
    assert await ask(sidecar.url, stream_options={"include_usage": True}) == whole


async def test_an_upstream_that_cannot_count_is_not_asked(
    start: Start, upstream: RawUpstream
) -> None:
    upstream.script = raw(STREAM_HEAD, chunk(EVENTS + DONE), LAST_CHUNK, close=False)
    config = config_for(upstream.url)
    config["upstreams"]["local"]["stream_usage"] = False  # type: ignore[index]
    sidecar = await start(config)
    assert await ask(sidecar.url) == EVENTS + DONE
    assert "stream_options" not in upstream.seen[0].json
    assert 'router_answers_of_unknown_cost_total{model="small"} 1.0' in await metrics(sidecar.admin)


def text(said: str, finish: str | None = None) -> bytes:
    """One event of a streamed text completion."""
    choice = {"index": 0, "text": said, "logprobs": None, "finish_reason": finish}
    body = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "upstream"}
    return b"data: " + orjson.dumps({**body, "choices": [choice], "usage": None}) + b"\n\n"


@pytest.mark.parametrize("client", ["lean", "aiohttp"])
@pytest.mark.parametrize("asked", [False, True])
async def test_text_completions_are_counted_too_and_the_app_sees_what_it_asked_for(
    start: Start, upstream: RawUpstream, client: str, asked: bool
) -> None:
    spoken = text("Once") + text(" upon") + text("", "length")
    count = COUNT.replace(b"chat.completion.chunk", b"text_completion") + b"\n\n"
    pieces = (text("Once") + text(" upon")[:40], text(" upon")[40:] + text("", "length") + count)
    upstream.script = raw(
        STREAM_HEAD, *map(chunk, pieces), chunk(DONE[:9]), chunk(DONE[9:]), LAST_CHUNK, close=False
    )
    sidecar = await start({**config_for(upstream.url), "upstream_client": client})
    options = {"stream_options": {"include_usage": True}} if asked else {}
    body = {"model": "small", "prompt": "Tell me a tale.", "stream": True, **options}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{sidecar.url}/completions", json=body) as response,
    ):
        assert response.status == 200
        assert await response.read() == spoken + (count if asked else b"") + DONE
    (seen,) = upstream.seen
    assert seen.line.startswith("POST /v1/completions ")
    assert seen.json["stream_options"] == {"include_usage": True}
    assert seen.json["prompt"] == "Tell me a tale."
    said = await metrics(sidecar.admin)
    assert 'router_tokens_total{kind="input",model="small",route="-"} 11.0' in said
    assert 'router_tokens_total{kind="output",model="small",route="-"} 7.0' in said
    assert 'router_answers_of_unknown_cost_total{model="small"}' not in said


async def test_a_text_completion_at_an_upstream_that_cannot_count_goes_up_as_it_came(
    start: Start, upstream: RawUpstream
) -> None:
    upstream.script = raw(STREAM_HEAD, chunk(text("Once", "length") + DONE), LAST_CHUNK)
    config = config_for(upstream.url)
    config["upstreams"]["local"]["stream_usage"] = False  # type: ignore[index]
    sidecar = await start(config)
    body = b'{"prompt":"Tell",  "stream":true,"model":"small"}'
    async with (
        aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session,
        session.post(f"{sidecar.url}/completions", data=body) as response,
    ):
        assert await response.read() == text("Once", "length") + DONE
    assert upstream.seen[0].body == body.replace(b'"small"', b'"tiny-1"')
    assert 'router_answers_of_unknown_cost_total{model="small"} 1.0' in await metrics(sidecar.admin)
