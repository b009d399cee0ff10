"""The official client, sync and async, streaming and not, through a real sidecar."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import orjson
import pydantic
import pytest

from tests.conftest import Running, Start, config_for
from tests.support.process import Process, serve
from tests.support.raw_upstream import ANSWER, DONE, RawUpstream, answer, event, stream

ROUTER = ("model", "route", "reason", "decision-ms", "request-id")
ASK: list[Any] = [{"role": "user", "content": "What is the weather in Brno?"}]
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
CALLS: list[Any] = [
    {"id": name, "type": "function", "function": {"name": "weather", "arguments": arguments}}
    for name, arguments in (("call_Abc-1", '{"city":"Brno"}'), ("call_Xyz_2", '{"city":"Aš"}'))
]
SPOKEN = [
    event({"role": "assistant", "content": ""}),
    event({"content": "hel"}),
    event({"content": "lo"}),
    event({}, finish="stop"),
    DONE,
]


def whole(**message: Any) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
    return orjson.dumps({**ANSWER, "choices": [choice]})


def called() -> list[bytes]:
    """Two tool calls as a stream deals them out: ids first, arguments in pieces."""
    events = [event({"role": "assistant", "content": None})]
    for i, made in enumerate(CALLS):
        head = {**made, "index": i, "function": {"name": "weather", "arguments": ""}}
        events.append(event({"tool_calls": [head]}))
        for char in made["function"]["arguments"]:
            piece = {"index": i, "function": {"arguments": char}}
            events.append(event({"tool_calls": [piece]}))
    return [*events, event({}, finish="tool_calls"), DONE]


class City(pydantic.BaseModel):
    name: str
    people: int


# -- the sync client, against a process of its own ------------------------------------


@pytest.fixture
async def process(tmp_path: Path, upstream: RawUpstream) -> AsyncIterator[Process]:
    started = await serve(tmp_path / "sidecar.yaml", config_for(upstream.url))
    await started.serving()
    yield started
    started.terminate()
    assert await started.ended() == 0
    assert "Traceback" not in started.said


async def test_the_sync_client_against_a_served_process(
    process: Process, upstream: RawUpstream
) -> None:
    def plain(client: openai.OpenAI) -> None:
        raw = client.chat.completions.with_raw_response.create(model="auto", messages=ASK)
        said = raw.parse()
        assert said.choices[0].message.content == "hello"
        assert said.usage is not None
        assert said.usage.completion_tokens == 7
        assert raw.headers["x-router-model"] in {"small", "large"}

    def streaming(client: openai.OpenAI) -> None:
        parts = client.chat.completions.create(model="auto", messages=ASK, stream=True)
        assert "".join(part.choices[0].delta.content or "" for part in parts) == "hello"

    def tools(client: openai.OpenAI) -> None:
        said = client.chat.completions.create(model="auto", messages=ASK, tools=TOOLS)
        made = said.choices[0].message.tool_calls
        assert made is not None
        assert [call.model_dump() for call in made] == CALLS

    def schema(client: openai.OpenAI) -> None:
        said = client.chat.completions.parse(model="auto", messages=ASK, response_format=City)
        assert said.choices[0].message.parsed == City(name="Brno", people=400_000)

    def models(client: openai.OpenAI) -> None:
        assert [model.id for model in client.models.list()] == ["auto", "small", "large"]

    def errors(client: openai.OpenAI) -> None:
        with pytest.raises(openai.NotFoundError, match="nobody"):
            client.chat.completions.create(model="nobody", messages=ASK)
        with pytest.raises(openai.BadRequestError, match="`messages`"):
            client.chat.completions.create(model="auto", messages=[])

    for script, use in (
        (None, plain),
        (stream(*SPOKEN), streaming),
        (answer(whole(content=None, tool_calls=CALLS)), tools),
        (answer(whole(content='{"name":"Brno","people":400000}')), schema),
        (None, models),
        (None, errors),
    ):
        upstream.script = script
        with openai.OpenAI(base_url=process.url, api_key="app", max_retries=0) as client:
            await asyncio.to_thread(use, client)


# -- the async client, against a sidecar in this process ------------------------------


@pytest.fixture
async def sidecar(start: Start, config: dict[str, object]) -> Running:
    return await start(config)


@pytest.fixture
async def client(sidecar: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=sidecar.url, api_key="app", max_retries=0) as one:
        yield one


async def test_an_answer_and_its_routing(client: openai.AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="auto", messages=ASK)
    assert raw.headers["x-router-model"] == "small"
    assert raw.headers["x-router-route"] == "auto"
    assert raw.headers["x-router-reason"] == "policy"
    for name in ROUTER:
        assert len(raw.headers.get_list(f"x-router-{name}")) == 1
    assert len(raw.headers.get_list("server-timing")) == 1


async def test_a_hard_prompt_goes_to_the_strong_model(
    client: openai.AsyncOpenAI, second: RawUpstream
) -> None:
    hard: list[Any] = [{"role": "user", "content": "HARD"}]
    raw = await client.chat.completions.with_raw_response.create(model="auto", messages=hard)
    assert raw.headers["x-router-model"] == "large"
    assert second.seen[0].json["model"] == "huge-1"


async def test_a_stream_and_its_routing(client: openai.AsyncOpenAI, upstream: RawUpstream) -> None:
    upstream.script = stream(*SPOKEN)
    raw = await client.chat.completions.with_raw_response.create(
        model="auto", messages=ASK, stream=True
    )
    assert raw.headers["x-router-model"] == "small"
    assert raw.headers["x-accel-buffering"] == "no"
    said = [part.choices[0].delta.content async for part in raw.parse()]
    assert said == ["", "hel", "lo", None]


async def test_streamed_tool_calls_keep_their_ids(
    client: openai.AsyncOpenAI, upstream: RawUpstream
) -> None:
    upstream.script = stream(*called())
    async with client.chat.completions.stream(model="auto", messages=ASK, tools=TOOLS) as answer:
        said = await answer.get_final_completion()
    made = said.choices[0].message.tool_calls
    assert made is not None
    assert [(call.id, call.function.arguments) for call in made] == [
        ("call_Abc-1", '{"city":"Brno"}'),
        ("call_Xyz_2", '{"city":"Aš"}'),
    ]
    assert upstream.seen[0].json["tools"]


async def test_a_tool_loop_goes_through_whole(
    client: openai.AsyncOpenAI, upstream: RawUpstream
) -> None:
    turns: list[Any] = [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": CALLS},
        *({"role": "tool", "tool_call_id": call["id"], "content": "rain"} for call in CALLS),
    ]
    await client.chat.completions.create(model="auto", messages=turns, tools=TOOLS)
    assert upstream.seen[0].json["messages"] == turns


async def test_a_schema_is_parsed_from_a_model_that_has_it(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream
) -> None:
    config["models"]["small"]["capabilities"] = []  # type: ignore[index]
    sidecar = await start(config)
    second.script = answer(whole(content='{"name":"Brno","people":400000}'))
    async with openai.AsyncOpenAI(base_url=sidecar.url, api_key="app", max_retries=0) as client:
        said = await client.chat.completions.parse(model="auto", messages=ASK, response_format=City)
    assert said.choices[0].message.parsed == City(name="Brno", people=400_000)
    assert upstream.seen == []
    asked: Any = second.seen[0].json["response_format"]
    assert asked["json_schema"]["name"] == "City"


async def test_a_picture_goes_to_a_model_that_sees_it_whole(
    client: openai.AsyncOpenAI, upstream: RawUpstream, second: RawUpstream
) -> None:
    parts: list[Any] = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 50_000}},
    ]
    raw = await client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": parts}]
    )
    assert raw.headers["x-router-reason"] == "capability"
    sent: Any = second.seen[0].json["messages"]
    assert sent[0]["content"] == parts
    assert upstream.seen == []


async def test_models_are_listed_in_openais_shape(client: openai.AsyncOpenAI) -> None:
    listed = await client.models.list()
    assert listed.object == "list"
    assert [(model.id, model.object) for model in listed.data] == [
        ("auto", "model"),
        ("small", "model"),
        ("large", "model"),
    ]


async def test_one_model_or_route_is_told_by_name(
    client: openai.AsyncOpenAI, upstream: RawUpstream
) -> None:
    for name, owner in (("auto", "route"), ("small", "model")):
        found = await client.models.retrieve(name)
        assert (found.id, found.object, found.owned_by) == (name, "model", owner)
    with pytest.raises(openai.NotFoundError, match="No model or route is called 'org/none'") as no:
        await client.models.retrieve("org/none")
    assert no.value.code == "model_not_found"
    with pytest.raises(openai.APIStatusError) as caught:
        await client.models.delete("small")
    assert caught.value.status_code == 405
    assert not upstream.seen


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({"model": "nobody", "messages": ASK}, openai.NotFoundError),
        ({"model": "auto", "messages": []}, openai.BadRequestError),
        ({"model": "auto", "messages": ASK, "temperature": "hot"}, openai.BadRequestError),
        ({"model": "auto", "messages": ASK, "modalities": ["audio"]}, openai.BadRequestError),
    ],
)
async def test_a_refusal_is_the_clients_own_exception_with_a_request_id(
    client: openai.AsyncOpenAI, asked: dict[str, Any], kind: type[openai.APIStatusError]
) -> None:
    with pytest.raises(kind) as caught:
        await client.chat.completions.create(**asked)
    assert caught.value.request_id == caught.value.response.headers["x-router-request-id"]
    assert caught.value.type == "invalid_request_error"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["request_id"] == caught.value.request_id


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("401 Unauthorized", openai.AuthenticationError),
        ("403 Forbidden", openai.PermissionDeniedError),
        ("422 Unprocessable", openai.UnprocessableEntityError),
        ("429 Too Many", openai.RateLimitError),
        ("500 Error", openai.InternalServerError),
    ],
)
async def test_an_upstreams_error_is_the_clients_own_exception_too(
    client: openai.AsyncOpenAI,
    upstream: RawUpstream,
    second: RawUpstream,
    status: str,
    kind: type[openai.APIStatusError],
) -> None:
    body = b'{"error":{"message":"from upstream","type":"x","code":"y"}}'
    upstream.script = second.script = answer(body, status)
    with pytest.raises(kind, match="from upstream") as caught:
        await client.chat.completions.create(model="auto", messages=ASK)
    assert caught.value.code == "y"


async def test_when_no_upstream_answers_the_client_does_not_ask_again(
    sidecar: Running, upstream: RawUpstream, second: RawUpstream
) -> None:
    upstream.script = second.script = answer(b"garbage")
    async with openai.AsyncOpenAI(base_url=sidecar.url, api_key="app", max_retries=3) as client:
        with pytest.raises(openai.InternalServerError, match="No upstream could answer"):
            await client.chat.completions.create(model="auto", messages=ASK)
    assert (len(upstream.seen), len(second.seen)) == (1, 1)


async def test_many_clients_at_once_each_get_their_own(
    sidecar: Running, upstream: RawUpstream, second: RawUpstream
) -> None:
    async def echo(seen: Any, writer: asyncio.StreamWriter) -> None:
        said = seen.json["messages"][0]["content"]
        await answer(whole(content=said))(seen, writer)

    upstream.script = second.script = echo

    async def one(client: openai.AsyncOpenAI, i: int) -> None:
        text = f"{'HARD ' if i % 2 else ''}{i}"
        ask: list[Any] = [{"role": "user", "content": text}]
        raw = await client.chat.completions.with_raw_response.create(model="auto", messages=ask)
        said = orjson.loads(raw.content)
        assert said["choices"][0]["message"]["content"] == text
        assert raw.headers["x-router-model"] == ("large" if i % 2 else "small")

    async with openai.AsyncOpenAI(base_url=sidecar.url, api_key="app", max_retries=0) as client:
        await asyncio.gather(*(one(client, i) for i in range(100)))
    assert (len(upstream.seen), len(second.seen)) == (50, 50)
