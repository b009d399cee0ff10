"""The mock upstream, as the official client sees it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import openai
import pytest

from sidecar.demo import tokens
from sidecar.demo.mock import Exchange, MockUpstream

SMALL, LARGE = "llama-3.1-8b-instruct", "gpt-4o-2024-08-06"
HELLO = [{"role": "user", "content": "Hello there, how are you?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
        },
    },
}
ASK_WEATHER = [{"role": "user", "content": "What is the weather in Lisbon, in celsius?"}]
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "triage",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {
                "priority": {"type": "string", "enum": ["low", "high"]},
                "summary": {"type": "string"},
            },
            "required": ["priority", "summary"],
            "additionalProperties": False,
        },
    },
}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwAD"
    "hgGAWjR9awAAAABJRU5ErkJggg=="
)


Served = tuple[MockUpstream, openai.AsyncOpenAI]


@asynccontextmanager
async def serving(**options: object) -> AsyncIterator[Served]:
    """A fresh mock that does not wait, and a client of it."""
    async with MockUpstream(speed=0, **options) as upstream:  # type: ignore[arg-type]
        client = openai.AsyncOpenAI(base_url=upstream.url, api_key="k", max_retries=0)
        async with client:
            yield upstream, client


@contextmanager
def in_a_thread() -> Iterator[MockUpstream]:
    """A mock beside the test's own thread, for the blocking client."""
    upstream = MockUpstream(speed=0)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(upstream.start(), loop).result(10)
        yield upstream
    finally:
        asyncio.run_coroutine_threadsafe(upstream.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def test_an_answer_says_that_it_is_a_mock_and_of_which_model() -> None:
    async with serving() as (_, client):
        answer = await client.chat.completions.create(model=SMALL, messages=HELLO)
        assert f"[Mock answer from {SMALL}]" in (answer.choices[0].message.content or "")
        assert answer.model == SMALL
        assert answer.choices[0].finish_reason == "stop"


def test_the_blocking_client_is_answered_and_streamed_to() -> None:
    with in_a_thread() as upstream:
        client = openai.OpenAI(base_url=upstream.url, api_key="k", max_retries=0)
        with client:
            whole = client.chat.completions.create(model=LARGE, messages=HELLO)
            with client.chat.completions.create(model=LARGE, messages=HELLO, stream=True) as stream:
                text = "".join(c.choices[0].delta.content or "" for c in stream)
            assert text == whole.choices[0].message.content
            assert {model.id for model in client.models.list()} == set(upstream.models)


async def test_a_stream_is_the_same_text_in_pieces_with_one_role_and_one_end() -> None:
    async with serving() as (_, client):
        whole = await client.chat.completions.create(model=LARGE, messages=HELLO)
        stream = await client.chat.completions.create(model=LARGE, messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
        choices = [chunk.choices[0] for chunk in chunks]
        assert "".join(c.delta.content or "" for c in choices) == whole.choices[0].message.content
        assert [c.delta.role for c in choices].count("assistant") == 1
        assert [c.finish_reason for c in choices if c.finish_reason] == ["stop"]
        assert len({chunk.id for chunk in chunks}) == 1
        assert all(chunk.usage is None for chunk in chunks)
        assert len(chunks) > 5


async def test_usage_comes_on_a_stream_only_when_asked_and_by_the_stated_rule() -> None:
    async with serving() as (_, client):
        stream = await client.chat.completions.create(
            model=LARGE, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        last = chunks[-1]
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.prompt_tokens == 3 + 4 + tokens.count(HELLO[0]["content"])
        assert last.usage.completion_tokens == tokens.count(text)


async def test_a_repeated_long_prefix_is_billed_as_cached() -> None:
    async with serving() as (_, client):
        policy = {"role": "system", "content": "Refunds within thirty days. " * 300}
        seen = []
        for question in ("May I return a lamp?", "May I return a sofa?"):
            answer = await client.chat.completions.create(
                model=LARGE, messages=[policy, {"role": "user", "content": question}]
            )
            assert answer.usage is not None
            assert answer.usage.prompt_tokens_details is not None
            seen.append(answer.usage.prompt_tokens_details.cached_tokens or 0)
        assert seen[0] == 0
        assert seen[1] >= 1024


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_wanted_tool_is_called_with_arguments_that_fit(streamed: bool) -> None:
    async with serving() as (_, client):
        ask = {"model": SMALL, "messages": ASK_WEATHER, "tools": [WEATHER]}
        if streamed:
            name = arguments = call_id = ""
            finish = None
            async for chunk in await client.chat.completions.create(**ask, stream=True):
                choice = chunk.choices[0]
                finish = choice.finish_reason or finish
                for call in choice.delta.tool_calls or ():
                    call_id += call.id or ""
                    name += call.function.name or ""
                    arguments += call.function.arguments or ""
        else:
            choice = (await client.chat.completions.create(**ask)).choices[0]
            finish = choice.finish_reason
            call = choice.message.tool_calls[0]
            name, arguments, call_id = call.function.name, call.function.arguments, call.id
        assert finish == "tool_calls"
        assert name == "get_weather"
        assert call_id.startswith("call_")
        assert json.loads(arguments) == {"city": "Lisbon", "unit": "celsius"}


async def test_a_tool_that_the_prompt_does_not_want_is_left_alone_unless_required() -> None:
    async with serving() as (_, client):
        joke = [{"role": "user", "content": "Tell me a joke about bakers."}]
        ask = {"model": SMALL, "messages": joke, "tools": [WEATHER]}
        answer = await client.chat.completions.create(**ask)
        assert answer.choices[0].message.content
        for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
            answer = await client.chat.completions.create(**ask, tool_choice=choice)
            assert answer.choices[0].message.tool_calls
        answer = await client.chat.completions.create(
            model=SMALL, messages=ASK_WEATHER, tools=[WEATHER], tool_choice="none"
        )
        assert not answer.choices[0].message.tool_calls


async def test_after_a_tools_result_comes_a_text() -> None:
    async with serving() as (_, client):
        call = {
            "id": "call_1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city":"Lisbon"}'},
        }
        messages = [
            *ASK_WEATHER,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "19 degrees, clear"},
        ]
        answer = await client.chat.completions.create(
            model=SMALL, messages=messages, tools=[WEATHER]
        )
        assert answer.choices[0].finish_reason == "stop"
        assert "19 degrees, clear" in (answer.choices[0].message.content or "")


async def test_a_schema_is_answered_with_json_that_fits_it() -> None:
    async with serving() as (_, client):
        answer = await client.chat.completions.create(
            model=LARGE,
            messages=[{"role": "user", "content": "Triage: the shop is down, priority high!"}],
            response_format=SCHEMA,
        )
        value = json.loads(answer.choices[0].message.content or "")
        assert value["priority"] == "high"
        assert "mock answer" in value["summary"]


async def test_a_token_limit_and_a_stop_cut_the_answer() -> None:
    async with serving() as (_, client):
        essay = [{"role": "user", "content": "Write an essay about rivers."}]
        answer = await client.chat.completions.create(model=LARGE, messages=essay, max_tokens=20)
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage is not None
        assert answer.usage.completion_tokens <= 20
        answer = await client.chat.completions.create(model=LARGE, messages=essay, stop=" from")
        assert answer.choices[0].message.content == "[Mock answer"


async def test_a_model_refuses_what_it_cannot_do() -> None:
    async with serving() as (_, client):
        picture = [{"type": "image_url", "image_url": {"url": PIXEL}}]
        messages = [{"role": "user", "content": picture}]
        assert (await client.chat.completions.create(model=LARGE, messages=messages)).choices
        with pytest.raises(openai.BadRequestError, match="does not accept images"):
            await client.chat.completions.create(model=SMALL, messages=messages)
        with pytest.raises(openai.BadRequestError, match="json_schema"):
            await client.chat.completions.create(
                model=SMALL, messages=HELLO, response_format=SCHEMA
            )
        long = [{"role": "user", "content": "word " * 9000}]
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model=SMALL, messages=long)
        assert caught.value.code == "context_length_exceeded"


async def test_errors_are_the_clients_own_types() -> None:
    async with serving(api_key="sesame") as (_, client):
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model=SMALL, messages=HELLO)
        keyed = client.with_options(api_key="sesame")
        assert (await keyed.chat.completions.create(model=SMALL, messages=HELLO)).choices
        with pytest.raises(openai.NotFoundError):
            await keyed.chat.completions.create(model="nobody", messages=HELLO)
        with pytest.raises(openai.BadRequestError):
            await keyed.chat.completions.create(model=SMALL, messages=[])
        with pytest.raises(openai.NotFoundError):
            await keyed.post("/nowhere", cast_to=object)


async def test_the_same_request_gets_the_same_answer_under_another_id() -> None:
    async with serving() as (_, client):
        one, two = [
            await client.chat.completions.create(model=LARGE, messages=HELLO) for _ in range(2)
        ]
        assert one.choices == two.choices
        assert one.id != two.id


async def test_requests_are_kept_as_they_came() -> None:
    async with serving() as (upstream, client):
        await client.chat.completions.create(
            model=SMALL, messages=HELLO, extra_headers={"X-Thing": "7"}
        )
        exchange = upstream.exchanges[-1]
        assert exchange.header("x-thing") == "7"
        assert json.loads(exchange.body)["messages"] == HELLO
        assert (exchange.model, exchange.status, exchange.ended) == (SMALL, 200, "complete")


async def test_a_hang_up_is_noticed() -> None:
    async with serving() as (upstream, client):
        upstream.speed = 0.001  # it would go on for minutes
        essay = [{"role": "user", "content": "Write an essay about rivers."}]
        task = asyncio.create_task(client.chat.completions.create(model=LARGE, messages=essay))
        exchange = await upstream.arrival(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await exchange.over.wait()
        assert exchange.ended == "hang-up"


class CutAfterThree:
    """Faults that answer one path themselves and cut every stream at its fourth event."""

    async def on_request(self, exchange: Exchange, request: object) -> None:
        return None

    async def on_event(self, exchange: Exchange, event: bytes) -> bytes | None:
        return event if exchange.events < 3 else None


async def test_faults_may_cut_a_stream() -> None:
    async with serving(faults=CutAfterThree()) as (upstream, client):
        stream = await client.chat.completions.create(model=LARGE, messages=HELLO, stream=True)
        with pytest.raises(Exception):  # noqa: B017, PT011  # the client's transport names it
            async for _ in stream:
                pass
        assert upstream.exchanges[-1].ended == "cut"


def test_only_loopback_is_listened_on() -> None:
    with in_a_thread() as upstream:
        assert upstream.url.startswith("http://127.0.0.1:")
        with socket.socket() as other:  # the wildcard address would refuse this
            other.bind(("127.0.0.2", upstream.port))


def test_a_body_that_is_not_json_is_told_so() -> None:
    with in_a_thread() as upstream:
        request = urllib.request.Request(
            f"{upstream.url}/chat/completions", data=b"{", method="POST"
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        with caught.value as answer:
            assert answer.code == 400
            assert "parse" in json.loads(answer.read())["error"]["message"]
