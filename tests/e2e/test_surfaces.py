"""Every API that is served, asked by the official clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import orjson
import pytest

from tests.conftest import Running, Start, config_for
from tests.support.raw_upstream import (
    LAST_CHUNK,
    MESSAGE,
    STREAM_HEAD,
    RawUpstream,
    answer,
    chunk,
    raw,
)

USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def frames(*events: tuple[str, dict[str, object]]) -> bytes:
    return b"".join(
        b"event: " + name.encode() + b"\ndata: " + orjson.dumps({"type": name, **data}) + b"\n\n"
        for name, data in events
    )


@pytest.fixture
async def sidecar(start: Start, upstream: RawUpstream) -> Running:
    return await start(config_for(upstream.url))


@pytest.fixture
async def client(sidecar: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=sidecar.url, api_key="app", max_retries=0) as one:
        yield one


async def test_completions_are_routed(client: openai.AsyncOpenAI, upstream: RawUpstream) -> None:
    body = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "text": " upon a time", "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
    }
    upstream.script = answer(orjson.dumps(body))
    said = await client.completions.create(model="auto", prompt="Once")
    assert said.choices[0].text == " upon a time"
    assert upstream.seen[0].line.startswith("POST /v1/completions ")
    assert upstream.seen[0].json["model"] in {"tiny-1", "huge-1"}


async def test_embeddings_are_routed(client: openai.AsyncOpenAI, upstream: RawUpstream) -> None:
    body = {
        "object": "list",
        "model": "m",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    upstream.script = answer(orjson.dumps(body))
    said = await client.embeddings.create(model="small", input="x", encoding_format="float")
    assert said.data[0].embedding == [0.5, 0.25]
    assert upstream.seen[0].line.startswith("POST /v1/embeddings ")


@pytest.mark.parametrize("tokens", [False, True])
async def test_a_batch_of_embeddings_has_the_window_to_each(
    client: openai.AsyncOpenAI, upstream: RawUpstream, tokens: bool
) -> None:
    body = {
        "object": "list",
        "model": "m",
        "data": [{"object": "embedding", "index": i, "embedding": [0.5]} for i in range(200)],
        "usage": {"prompt_tokens": 100_000, "total_tokens": 100_000},
    }
    upstream.script = answer(orjson.dumps(body))
    # 200 inputs of 500 tokens, for a model whose window is 8,192
    batch: list[Any] = [[7] * 500 if tokens else "word " * 500] * 200
    said = await client.embeddings.create(model="small", input=batch, encoding_format="float")
    assert len(said.data) == 200
    upstream.seen.clear()
    too_long: list[Any] = [*batch, [7] * 9000 if tokens else "word " * 9000]
    with pytest.raises(openai.BadRequestError, match="room"):
        await client.embeddings.create(model="small", input=too_long)
    assert upstream.seen == []


async def test_responses_are_streamed(client: openai.AsyncOpenAI, upstream: RawUpstream) -> None:
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "status": "completed",
        "usage": USAGE,
    }
    delta = {"item_id": "i", "output_index": 0, "content_index": 0, "sequence_number": 1}
    events = frames(
        ("response.created", {"response": {**response, "usage": None}, "sequence_number": 0}),
        ("response.output_text.delta", {**delta, "delta": "hel", "logprobs": []}),
        ("response.output_text.delta", {**delta, "delta": "lo", "logprobs": []}),
        ("response.completed", {"response": response, "sequence_number": 3}),
    )
    upstream.script = raw(STREAM_HEAD, chunk(events), LAST_CHUNK, close=False)
    stream = await client.responses.create(model="auto", input="hi", stream=True)
    text = ""
    async for event in stream:
        if event.type == "response.output_text.delta":
            text += event.delta
    assert text == "hello"


async def test_a_responses_stream_that_breaks_ends_with_its_error(
    client: openai.AsyncOpenAI, upstream: RawUpstream
) -> None:
    delta = {"item_id": "i", "output_index": 0, "content_index": 0, "sequence_number": 1}
    part = frames(("response.output_text.delta", {**delta, "delta": "hel", "logprobs": []}))
    upstream.script = raw(STREAM_HEAD, chunk(part))
    stream = await client.responses.create(model="small", input="hi", stream=True)
    last = [event async for event in stream][-1]
    assert last.type == "error"  # which is how this API's streams fail
    assert "broke off" in last.message
    assert last.code == "upstream_broken"


async def test_a_response_with_a_large_picture_is_whole_and_counted(
    sidecar: Running, client: openai.AsyncOpenAI, upstream: RawUpstream
) -> None:
    picture = "A" * 3_000_000
    made = {"type": "image_generation_call", "id": "ig_1", "status": "completed"}
    response = {"id": "resp_1", "output": [{**made, "result": picture}], "usage": USAGE}
    progress = {"item_id": "ig_1", "output_index": 0, "sequence_number": 1}
    events = frames(
        ("response.image_generation_call.generating", progress),
        ("response.completed", {"sequence_number": 2, "response": response}),
    )
    upstream.script = raw(STREAM_HEAD, chunk(events), LAST_CHUNK, close=False)
    stream = await client.responses.create(model="small", input="draw", stream=True)
    last = [event async for event in stream][-1]
    assert last.type == "response.completed"
    assert last.response.output[0].result == picture  # type: ignore[union-attr]
    said = sidecar.app.runtime.telemetry.exposition().decode()
    assert 'router_tokens_total{kind="output",model="small",route="-"} 4.0' in said
    assert 'ended="complete"' in said


@pytest.fixture
async def claude(start: Start, upstream: RawUpstream) -> AsyncIterator[anthropic.AsyncAnthropic]:
    config = config_for(upstream.url)
    for spec in config["upstreams"].values():  # type: ignore[attr-defined]
        spec["dialect"] = "anthropic"
        spec["api_key_env"] = "UPSTREAM_KEY"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSTREAM_KEY", "sk-upstream")
        sidecar = await start(config)
    base = sidecar.url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=base, api_key="app", max_retries=0) as one:
        yield one


async def test_messages_are_routed_with_the_upstreams_key(
    claude: anthropic.AsyncAnthropic, upstream: RawUpstream
) -> None:
    upstream.script = answer(orjson.dumps(MESSAGE))
    said = await claude.messages.create(
        model="auto", max_tokens=50, messages=[{"role": "user", "content": "hi"}]
    )
    assert said.content[0].text == "hello"  # type: ignore[union-attr]
    (seen,) = upstream.seen
    assert seen.line.startswith("POST /v1/messages ")
    assert seen.header("x-api-key") == ["sk-upstream"]
    assert seen.header("anthropic-version")
    assert not seen.header("authorization")


async def test_messages_are_streamed_with_their_tools(
    claude: anthropic.AsyncAnthropic, upstream: RawUpstream
) -> None:
    start = {**MESSAGE, "content": [], "stop_reason": None}
    tool = {"type": "tool_use", "id": "toolu_1", "name": "lookup", "input": {}}
    events = frames(
        ("message_start", {"message": start}),
        ("content_block_start", {"index": 0, "content_block": tool}),
        (
            "content_block_delta",
            {"index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"q": '}},
        ),
        (
            "content_block_delta",
            {"index": 0, "delta": {"type": "input_json_delta", "partial_json": '"x"}'}},
        ),
        ("content_block_stop", {"index": 0}),
        (
            "message_delta",
            {
                "delta": {"stop_reason": "tool_use", "stop_sequence": None},
                "usage": {"output_tokens": 9},
            },
        ),
        ("message_stop", {}),
    )
    upstream.script = raw(STREAM_HEAD, chunk(events), LAST_CHUNK, close=False)
    async with claude.messages.stream(
        model="auto",
        max_tokens=50,
        messages=[{"role": "user", "content": "look x up"}],
        tools=[{"name": "lookup", "input_schema": {"type": "object"}}],
    ) as stream:
        final = await stream.get_final_message()
    (block,) = final.content
    assert block.type == "tool_use"
    assert (block.id, block.input) == ("toolu_1", {"q": "x"})


async def test_an_error_comes_in_anthropics_shape(claude: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        await claude.messages.create(
            model="nobody", max_tokens=5, messages=[{"role": "user", "content": "hi"}]
        )
    assert caught.value.body["error"]["type"] == "not_found_error"  # type: ignore[index,call-overload]
    assert caught.value.body["request_id"].startswith("req_")  # type: ignore[index,call-overload]


async def test_what_is_not_served_is_refused_in_anthropics_shape_too(
    claude: anthropic.AsyncAnthropic,
) -> None:
    with pytest.raises(anthropic.NotFoundError, match="Nothing is served here") as caught:
        await claude.messages.batches.create(requests=[])
    said: Any = caught.value.body
    assert (said["type"], said["error"]["type"]) == ("error", "not_found_error")
    assert said["request_id"].startswith("req_")
    assert caught.value.request_id == said["request_id"]


async def test_a_dialect_no_model_speaks_is_refused_with_a_sentence(
    claude: anthropic.AsyncAnthropic, upstream: RawUpstream
) -> None:
    base = str(claude.base_url).rstrip("/") + "/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key="app", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError, match="chat dialect"):
            await client.chat.completions.create(
                model="auto", messages=[{"role": "user", "content": "hi"}]
            )
    assert not upstream.seen
