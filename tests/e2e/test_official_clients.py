"""A whole tool loop with the official clients, streamed and not, over each way to an upstream.

The app speaks plain HTTP to ``listen``, which has no TLS; the sidecar speaks to the
upstream in the clear or over TLS that it verifies, with either of its clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import orjson
import pytest

from tests.conftest import Running, Start, config_for
from tests.support.raw_upstream import (
    ANSWER,
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    RawUpstream,
    Seen,
    answer,
    chunk,
    event,
    raw,
)
from tests.support.tls import Authority

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
ARGUMENTS = '{"city":"Aš"}'
ASK = "What is the weather in Aš?"
CALL = {
    "id": "call_Abc-1",
    "type": "function",
    "function": {"name": "weather", "arguments": ARGUMENTS},
}
USE = {"type": "tool_use", "id": "toolu_01Ab", "name": "weather", "input": {"city": "Aš"}}
FUNCTION = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_Abc-1",
    "name": "weather",
    "arguments": ARGUMENTS,
    "status": "completed",
}


def frames(*events: dict[str, Any], named: bool = True) -> list[bytes]:
    return [
        (b"event: " + each["type"].encode() + b"\n" if named else b"")
        + b"data: " + orjson.dumps(each) + b"\n\n"
        for each in events
    ]  # fmt: skip


def as_chat(seen: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """The model's turn, whole and as a stream: a tool's call, or what it makes of a result."""
    if seen["messages"][-1]["role"] == "tool":
        said = {"role": "assistant", "content": "rain"}
        deltas = [event({"role": "assistant"}), event({"content": "ra"}), event({"content": "in"})]
        end = "stop"
    else:
        said = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        head = {**CALL, "index": 0, "function": {"name": "weather", "arguments": ""}}
        pieces = [{"index": 0, "function": {"arguments": each}} for each in ARGUMENTS]
        deltas = [event({"role": "assistant", "tool_calls": [head]})]
        deltas += [event({"tool_calls": [piece]}) for piece in pieces]
        end = "tool_calls"
    choice = {"index": 0, "finish_reason": end, "message": said}
    return {**ANSWER, "choices": [choice]}, [*deltas, event({}, end), DONE]


def as_messages(seen: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    last = seen["messages"][-1]["content"]
    loop = isinstance(last, list) and last[0]["type"] == "tool_result"
    block: dict[str, Any] = {"type": "text", "text": "rain"} if loop else USE
    end = "end_turn" if loop else "tool_use"
    whole = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [block],
        "stop_reason": end, "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 4},
    }  # fmt: skip
    if loop:
        empty: dict[str, Any] = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": part} for part in ("ra", "in")]
    else:
        empty = {**USE, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in ARGUMENTS]
    return whole, frames(
        {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": end, "stop_sequence": None},
            "usage": {"output_tokens": 9},
        },
        {"type": "message_stop"},
    )


def as_responses(seen: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    loop = seen["input"][-1].get("type") == "function_call_output"
    text = {"type": "output_text", "text": "rain", "annotations": [], "logprobs": []}
    said = {"type": "message", "id": "m_1", "role": "assistant", "status": "completed"}
    item: dict[str, Any] = {**said, "content": [text]} if loop else FUNCTION
    whole = {
        "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [item],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "status": "completed",
        "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    }  # fmt: skip
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    at = {"item_id": item["id"], "output_index": 0}
    if loop:
        part = {**at, "content_index": 0, "type": "response.output_text.delta", "logprobs": []}
        events.append(
            {
                "type": "response.output_item.added",
                "output_index": 0,
                "item": {**item, "content": []},
            }
        )
        events.append({
            **at, "content_index": 0, "type": "response.content_part.added",
            "part": {**text, "text": ""},
        })  # fmt: skip
        events += [{**part, "delta": piece} for piece in ("ra", "in")]
    else:
        events.append(
            {
                "type": "response.output_item.added",
                "output_index": 0,
                "item": {**item, "arguments": ""},
            }
        )
        part = {**at, "type": "response.function_call_arguments.delta"}
        events += [{**part, "delta": piece} for piece in ARGUMENTS]
    events.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    events.append({"type": "response.completed", "response": whole})
    return whole, frames(*({**each, "sequence_number": i} for i, each in enumerate(events)))


APIS = {"chat/completions": as_chat, "messages": as_messages, "responses": as_responses}


async def provider(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """An upstream of all three APIs that calls a tool and then tells what it said."""
    whole, events = APIS[seen.line.split()[1].removeprefix("/v1/")](seen.json)
    if not seen.json.get("stream"):
        await answer(orjson.dumps(whole))(seen, writer)
        return
    # cut where no event ends, in the middle of a character too
    stream = b"".join(events)
    pieces = [stream[i : i + 37] for i in range(0, len(stream), 37)]
    await raw(STREAM_HEAD, *map(chunk, pieces), LAST_CHUNK, close=False)(seen, writer)


@pytest.fixture(params=["plain", "tls"])
async def upstream(
    request: pytest.FixtureRequest, authority: Authority
) -> AsyncIterator[RawUpstream]:
    tls = authority.server() if request.param == "tls" else None
    server = RawUpstream(provider, tls=tls)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(params=["lean", "aiohttp"])
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def settings(url: str, client: str, ca: Authority | None, family: str = "openai") -> Any:
    config: dict[str, Any] = config_for(url)
    for each in config["upstreams"].values():
        each["dialect"] = family
        if ca is not None:
            each["ca_file"] = str(ca.file)
    return {**config, "upstream_client": client}


@pytest.fixture
async def app(
    start: Start, upstream: RawUpstream, authority: Authority, client: str
) -> AsyncIterator[openai.AsyncOpenAI]:
    sidecar = await start(settings(upstream.url, client, authority))
    async with openai.AsyncOpenAI(base_url=sidecar.url, api_key="app", max_retries=0) as one:
        yield one


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_loop_over_chat_completions(
    app: openai.AsyncOpenAI, upstream: RawUpstream, streamed: bool
) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    turns: list[Any] = [{"role": "user", "content": ASK}]

    async def turn() -> Any:
        asked: Any = {"model": "auto", "messages": turns, "tools": tools}
        if not streamed:
            return (await app.chat.completions.create(**asked)).choices[0].message
        async with app.chat.completions.stream(**asked) as stream:
            return (await stream.get_final_completion()).choices[0].message

    (made,) = (await turn()).tool_calls
    assert (made.id, made.function.name, made.function.arguments) == (
        "call_Abc-1", "weather", ARGUMENTS,
    )  # fmt: skip
    turns += [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": made.id, "content": "rain"},
    ]
    assert (await turn()).content == "rain"
    assert upstream.seen[1].json["messages"] == turns


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_loop_over_responses(
    app: openai.AsyncOpenAI, upstream: RawUpstream, streamed: bool
) -> None:
    tools: Any = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
    items: list[Any] = [{"role": "user", "content": ASK}]

    async def turn() -> Any:
        asked: Any = {"model": "auto", "input": items, "tools": tools}
        if not streamed:
            return await app.responses.create(**asked)
        async with app.responses.stream(**asked) as stream:
            return await stream.get_final_response()

    (made,) = (await turn()).output
    assert (made.call_id, made.name, made.arguments) == ("call_Abc-1", "weather", ARGUMENTS)
    items += [FUNCTION, {"type": "function_call_output", "call_id": made.call_id, "output": "rain"}]
    assert (await turn()).output_text == "rain"
    assert upstream.seen[1].json["input"] == items


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_loop_over_messages(
    start: Start, upstream: RawUpstream, authority: Authority, client: str, streamed: bool
) -> None:
    sidecar = await start(settings(upstream.url, client, authority, "anthropic"))
    tools: Any = [{"name": "weather", "input_schema": SCHEMA}]
    turns: list[Any] = [{"role": "user", "content": ASK}]
    base = sidecar.url.removesuffix("/v1")

    async with anthropic.AsyncAnthropic(base_url=base, api_key="app", max_retries=0) as app:

        async def turn() -> Any:
            asked: Any = {"model": "auto", "max_tokens": 50, "messages": turns, "tools": tools}
            if not streamed:
                return await app.messages.create(**asked)
            async with app.messages.stream(**asked) as stream:
                return await stream.get_final_message()

        said = await turn()
        assert said.stop_reason == "tool_use"
        (made,) = said.content
        assert (made.id, made.name, made.input) == ("toolu_01Ab", "weather", {"city": "Aš"})
        result = {"type": "tool_result", "tool_use_id": made.id, "content": "rain"}
        turns += [{"role": "assistant", "content": [USE]}, {"role": "user", "content": [result]}]
        (said,) = (await turn()).content
        assert said.text == "rain"
    assert upstream.seen[1].json["messages"] == turns


@pytest.mark.parametrize("why", ["nobody vouches for it", "it has another's name"])
async def test_an_upstream_that_cannot_prove_who_it_is_is_sent_nothing(
    start: Start, authority: Authority, client: str, why: str
) -> None:
    another = why == "it has another's name"
    server = RawUpstream(provider, tls=authority.server(*(["other.test"] if another else [])))
    await server.start()
    try:
        sidecar: Running = await start(settings(server.url, client, authority if another else None))
        async with openai.AsyncOpenAI(base_url=sidecar.url, api_key="app", max_retries=0) as app:
            with pytest.raises(openai.InternalServerError, match="certificate"):
                await app.chat.completions.create(
                    model="auto", messages=[{"role": "user", "content": "hi"}]
                )
        assert server.seen == []
    finally:
        await server.stop()
