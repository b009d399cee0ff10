"""Streams of every API and every shape of a tool's call, cut at random: they come out identical.

Each transcript is what such an upstream sends, events and all. It is cut into chunks that
heed no event and no character, and must reach the caller byte for byte, counted all the
same; an extra count that the router asked for is the one thing taken out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from tests.conftest import Running, Start, config_for
from tests.support.raw_upstream import DONE, LAST_CHUNK, STREAM_HEAD, RawUpstream, chunk, event, raw
from tests.support.wire import exchange, post

SEEDS = 4
ASK = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True)
class Golden:
    """One transcript, and the request that is answered with it."""

    stream: bytes
    path: str = "/v1/chat/completions"
    body: dict[str, Any] = field(default_factory=lambda: {"messages": ASK})
    family: str = "openai"


def calls(*deltas: dict[str, Any]) -> bytes:
    return b"".join(event(each) for each in deltas) + event({}, "tool_calls") + DONE


def part(index: int, **fields: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **fields}]}


def named(kind: str, **fields: Any) -> bytes:
    said = {"type": kind, **fields}
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(said) + b"\n\n"


def text(said: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "text": said, "logprobs": None, "finish_reason": finish}
    return b"data: " + orjson.dumps({"id": "cmpl-1", "choices": [choice], "usage": None}) + b"\n\n"


COUNT = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7}}\n\n'
ARGUMENTS = '{"město": "Aš 😀", "data: x\\n\\n": [1.0e+2]}'
WHOLE_RESPONSE = {
    "id": "resp_1",
    "status": "completed",
    "usage": {"input_tokens": 11, "output_tokens": 7},
}
MESSAGE = {"id": "msg_1", "role": "assistant", "usage": {"input_tokens": 11, "output_tokens": 1}}
GOLDEN: dict[str, Golden] = {
    "one call in pieces": Golden(
        calls(
            {"role": "assistant", "content": None},
            part(0, id="call_Abc-1", type="function", function={"name": "f", "arguments": ""}),
            *(part(0, function={"arguments": piece}) for piece in ARGUMENTS),
        )
    ),
    "calls side by side": Golden(
        calls(
            part(0, id="a", type="function", function={"name": "f", "arguments": "{"}),
            part(1, id="b", type="function", function={"name": "g", "arguments": "{"}),
            part(1, function={"arguments": '"x":1}'}),
            part(0, function={"arguments": "}"}),
        )
    ),
    "whole calls in one delta": Golden(
        calls(
            {
                "tool_calls": [
                    {"index": i, "id": f"c{i}", "function": {"name": "f", "arguments": ARGUMENTS}}
                    for i in range(3)
                ]
            }
        )
    ),
    "the id in every piece": Golden(
        calls(
            part(0, id="a", function={"name": "f", "arguments": "{"}),
            part(0, id="a", function={"name": None, "arguments": "}"}),
        )
    ),
    "without index or type": Golden(
        calls({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]})
    ),
    "a custom tool's call": Golden(
        calls(
            part(0, id="a", type="custom", custom={"name": "sh", "input": ""}),
            part(0, custom={"input": "ls -l\n\ndata: [DONE]"}),
        )
    ),
    "a function's call of old": Golden(
        event({"function_call": {"name": "f", "arguments": ""}})
        + event({"function_call": {"arguments": "{}"}})
        + event({}, "function_call")
        + DONE
    ),
    "text, then a call, then a refusal": Golden(
        event({"content": "Let me see"})
        + event(part(0, id="a", function={"name": "f", "arguments": "{}"}))
        + event({"refusal": "no"})
        + event({"reasoning_content": "hm"})
        + event({}, "stop")
        + DONE
    ),
    "text completion": Golden(
        text("Žluťoučký") + text(" kůň 😀") + text("", "length") + DONE,
        "/v1/completions",
        {"prompt": "hi"},
    ),
    "messages": Golden(
        named("message_start", message=MESSAGE)
        + named("ping")
        + named("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
        + named(
            "content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm 😀"}
        )
        + named("content_block_stop", index=0)
        + named(
            "content_block_start",
            index=1,
            content_block={"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
        )
        + b"".join(
            named(
                "content_block_delta",
                index=1,
                delta={"type": "input_json_delta", "partial_json": piece},
            )
            for piece in ("", '{"město"', ': "Aš"}')
        )
        + named("content_block_stop", index=1)
        + named(
            "message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 7}
        )
        + named("message_stop"),
        "/v1/messages",
        {"messages": ASK, "max_tokens": 9},
        "anthropic",
    ),
    "responses": Golden(
        named("response.created", response={"id": "resp_1", "status": "in_progress"})
        + named("response.output_item.added", item={"type": "function_call", "call_id": "call_1"})
        + b"".join(
            named("response.function_call_arguments.delta", item_id="fc_1", delta=piece)
            for piece in ARGUMENTS
        )
        + named("response.custom_tool_call_input.delta", item_id="ct_1", delta="ls\n\n")
        + named("response.output_item.done", item={"type": "function_call", "call_id": "call_1"})
        + named("response.completed", response=WHOLE_RESPONSE),
        "/v1/responses",
        {"input": "hi"},
    ),
}  # fmt: skip


def cut(stream: bytes, seed: int) -> list[bytes]:
    """Pieces of 1 to 60 bytes, or by seed 0 of one byte each."""
    chance, pieces, at = random.Random(seed), [], 0
    while at < len(stream):
        size = chance.randint(1, 60) if seed else 1
        pieces.append(stream[at : at + size])
        at += size
    return pieces


@pytest.fixture(params=["openai", "anthropic"])
async def sidecars(request: pytest.FixtureRequest, start: Start, upstream: RawUpstream) -> Running:
    config: dict[str, Any] = config_for(upstream.url)
    for each in config["upstreams"].values():
        each["dialect"] = request.param
    return await start(config)


@pytest.mark.parametrize("crlf", [False, True])
async def test_a_transcript_comes_out_as_it_went_in_however_it_is_cut(
    sidecars: Running, upstream: RawUpstream, crlf: bool
) -> None:
    family = next(iter(sidecars.app.runtime.snapshot.models.values())).upstream.family
    counted = 0
    for name, golden in GOLDEN.items():
        if golden.family != family:
            continue
        whole = golden.stream.replace(b"\n\n", b"\r\n\r\n") if crlf else golden.stream
        sent = whole
        if golden.path.endswith("completions"):  # the router asks for a count
            before, done, after = whole.rpartition(DONE.rstrip())
            sent = before + COUNT + done + after
        for seed in range(SEEDS):
            upstream.script = raw(
                STREAM_HEAD, *map(chunk, cut(sent, seed)), LAST_CHUNK, close=False
            )
            body = {"model": "small", "stream": True, **golden.body}
            reply = await exchange(sidecars.app.listen, post(body, path=golden.path))
            assert (reply.status, reply.whole) == (200, True), name
            assert reply.body == whole, (name, seed)
            counted += 1
    said = sidecars.app.runtime.telemetry.exposition().decode()
    for kind, tokens in (("input", 11), ("output", 7)):
        line = f'router_tokens_total{{kind="{kind}",model="small",route="-"}} {counted * tokens}.0'
        assert line in said
