"""After content nothing can be taken back: a stream that fails never looks whole."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import openai
import orjson
import pytest

from tests.conftest import Running, Start, config_for
from tests.support.raw_upstream import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    RawUpstream,
    Script,
    chunk,
    event,
    raw,
    stream,
)
from tests.support.wire import Reply, chat, exchange, post

ONE, TWO = event({"content": "one"}), event({"content": "two"})
BREAKS: dict[str, Script] = {
    "closed": raw(STREAM_HEAD, chunk(ONE)),
    "closed in an event": raw(STREAM_HEAD, chunk(ONE + TWO[:20])),
    "closed in a chunk": raw(STREAM_HEAD, chunk(ONE), b"fff\r\ndata: "),
    "ended without its end": raw(STREAM_HEAD, chunk(ONE), LAST_CHUNK),
    "chunks that are none": raw(STREAM_HEAD, chunk(ONE), 0.05, b"zz\r\n"),
    "stalled": raw(STREAM_HEAD, chunk(ONE), 30.0),
    "stalled in an event": raw(STREAM_HEAD, chunk(ONE + TWO[:20]), 30.0),
}


@pytest.fixture
async def sidecar(start: Start, upstream: RawUpstream, second: RawUpstream) -> Running:
    config = config_for(upstream.url, second.url)
    timeouts = {"connect_s": 2.0, "first_content_s": 5.0, "idle_s": 0.3}
    config["upstreams"]["local"]["timeouts"] = timeouts  # type: ignore[index]
    return await start(config)


async def ask(sidecar: Running, **fields: Any) -> Reply:
    return await exchange(sidecar.app.listen, post(chat(**{"stream": True, **fields})))


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("name", BREAKS)
async def test_a_stream_that_breaks_ends_with_an_error_event(
    sidecar: Running, upstream: RawUpstream, second: RawUpstream, name: str, counted: bool
) -> None:
    upstream.script = BREAKS[name]
    # where the app asked for the usage itself, half an event is passed on as it came
    reply = await ask(sidecar, stream_options={"include_usage": counted})
    assert reply.status == 200
    assert reply.body.startswith(ONE)
    *_, last, rest = reply.body.split(b"\n\n")
    error = orjson.loads(last.removeprefix(b"data: "))["error"]
    assert rest == b""
    expected = {"upstream_timeout" if name.startswith("stalled") else "upstream_broken"}
    if name == "chunks that are none":  # to aiohttp's parser they are only a silence
        expected.add("upstream_timeout")
    assert error["code"] in expected
    assert error["request_id"] == reply.header("x-router-request-id")[0]
    assert DONE not in reply.body
    assert second.seen == []  # what the caller has seen is not said again by another


@pytest.mark.parametrize("name", BREAKS)
async def test_the_openai_client_raises_where_a_stream_breaks(
    sidecar: Running, upstream: RawUpstream, name: str
) -> None:
    upstream.script = BREAKS[name]
    said = []
    async with openai.AsyncOpenAI(base_url=sidecar.url, api_key="x", max_retries=0) as client:
        answer = await client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        with pytest.raises(openai.APIError, match="broke off"):  # noqa: PT012
            async for part in answer:
                said.append(part.choices[0].delta.content)
    assert said == ["one"]


@pytest.mark.parametrize("end", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE] \n\n"])
@pytest.mark.parametrize("counted", [False, True])
async def test_a_stream_whose_end_is_written_carelessly_is_no_broken_one(
    sidecar: Running, upstream: RawUpstream, end: bytes, counted: bool
) -> None:
    upstream.script = raw(STREAM_HEAD, chunk(ONE), chunk(end), LAST_CHUNK)
    reply = await ask(sidecar, stream_options={"include_usage": counted})
    assert (reply.status, reply.body, reply.whole) == (200, ONE + end, True)


async def test_a_stream_of_several_choices_is_whole_when_each_of_them_has_ended(
    sidecar: Running, upstream: RawUpstream
) -> None:
    """The first to end is not the last: what the others would have said is missing."""
    begun = ONE + event({"content": "two"}, index=1)
    first, second = event({}, "stop"), event({}, "stop", 1)
    for end, whole in ((first, False), (first + second, True), (second + DONE, True)):
        upstream.script = raw(STREAM_HEAD, chunk(begun), chunk(end), LAST_CHUNK)
        reply = await ask(sidecar, model="small", n=2)
        assert reply.body.startswith(begun + end)
        assert (reply.body == begun + end) is whole
        assert (b"upstream_broken" in reply.body) is not whole


async def test_a_byte_order_mark_before_a_stream_hides_nothing_and_passes(
    sidecar: Running, upstream: RawUpstream
) -> None:
    mark = "\ufeff".encode()
    upstream.script = stream(mark, ONE, DONE)  # its only content stands behind the mark
    reply = await ask(sidecar)
    assert (reply.status, reply.body) == (200, mark + ONE + DONE)


async def test_an_error_in_a_responses_stream_is_numbered_as_its_next_event(
    sidecar: Running, upstream: RawUpstream
) -> None:
    def numbered(number: int) -> bytes:
        said = {
            "type": "response.output_text.delta", "sequence_number": number, "delta": "x",
            "item_id": "m", "output_index": 0, "content_index": 0, "logprobs": [],
        }  # fmt: skip
        return b"event: response.output_text.delta\ndata: " + orjson.dumps(said) + b"\n\n"

    upstream.script = raw(STREAM_HEAD, chunk(numbered(4) + numbered(5)), chunk(numbered(6)))
    async with openai.AsyncOpenAI(base_url=sidecar.url, api_key="x", max_retries=0) as client:
        answer = await client.responses.create(model="small", input="hi", stream=True)
        said = [(part.type, part.sequence_number) async for part in answer]
    deltas = [("response.output_text.delta", number) for number in (4, 5, 6)]
    assert said == [*deltas, ("error", 7)]  # an event of this API, and nothing that is raised


async def test_an_upstreams_own_error_in_a_stream_passes_and_is_not_doubled(
    sidecar: Running, upstream: RawUpstream
) -> None:
    fault = b'data: {"error": {"message": "overloaded"}}\n\n'
    upstream.script = stream(ONE, fault)
    reply = await ask(sidecar)
    assert reply.body == ONE + fault


async def test_a_slow_stream_that_lives_is_not_cut(sidecar: Running, upstream: RawUpstream) -> None:
    events: list[bytes | float] = []
    for i in range(6):  # longer together than the idle limit, and never alone
        events += [event({"content": str(i)}), 0.12]
    upstream.script = stream(*events, DONE)
    reply = await ask(sidecar)
    assert reply.body.endswith(DONE)
    assert b'"error"' not in reply.body


@pytest.mark.parametrize("how", ["a stream", "a large answer", "a small answer"])
async def test_an_answer_that_never_ends_has_its_time(
    start: Start, upstream: RawUpstream, how: str
) -> None:
    config = config_for(upstream.url)
    config["upstreams"]["local"]["timeouts"] = {"total_s": 0.5}  # type: ignore[index]
    sidecar = await start(config)
    json_head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    heads = {
        "a stream": STREAM_HEAD + chunk(ONE),
        "a large answer": json_head + b"Content-Length: 9000000\r\n\r\n{" + b" " * 300_000,
        "a small answer": json_head + b"Content-Length: 90000\r\n\r\n{",
    }
    piece = chunk(ONE) if how == "a stream" else b" "
    # a piece every 50 ms: neither idle nor without content, and never over
    upstream.script = raw(heads[how], *[part for _ in range(1200) for part in (0.05, piece)])
    reply = await ask(sidecar, model="small", stream=how == "a stream")
    assert upstream.gone.is_set() or await asyncio.wait_for(upstream.gone.wait(), 10)
    if how == "a small answer":  # held until it is whole: nothing of it was sent
        assert (reply.status, reply.json["error"]["code"]) == (504, "upstream_timeout")
    elif how == "a stream":
        assert (reply.status, reply.whole) == (200, True)
        last = reply.body.rstrip().rpartition(b"data: ")[2]
        assert orjson.loads(last)["error"]["code"] == "upstream_timeout"
    else:
        assert not reply.whole


async def test_a_compressed_stream_that_breaks_is_cut_and_not_written_into(
    sidecar: Running, upstream: RawUpstream
) -> None:
    packed = gzip.compress(ONE + TWO + DONE)
    head = STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    upstream.script = raw(head, chunk(packed[:30]), 0.05, b"zz\r\n")
    reply = await ask(sidecar)
    assert packed.startswith(reply.body)
    assert not reply.whole
    # the same of one that ends well as HTTP and gzip go, and lacks its own end
    packed = gzip.compress(ONE + TWO)
    upstream.script = raw(head, chunk(packed), LAST_CHUNK)
    reply = await ask(sidecar)
    assert packed.startswith(reply.body)
    assert not reply.whole


async def test_a_long_unstreamed_answer_that_breaks_is_cut(
    sidecar: Running, upstream: RawUpstream
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2000000\r\n\r\n"
    upstream.script = raw(head + b'{"x":"' + b"y" * 900_000)
    reply = await ask(sidecar, stream=False)
    assert reply.status == 200
    assert not reply.whole


async def test_after_a_broken_stream_the_next_request_works(
    sidecar: Running, upstream: RawUpstream
) -> None:
    for script in BREAKS.values():
        upstream.script = script
        await ask(sidecar, model="small")  # by name: a route would come to avoid it
        upstream.script = stream(TWO, DONE)
        assert (await ask(sidecar, model="small")).body == TWO + DONE


async def test_an_upstream_whose_stream_stalled_is_told_to_stop(
    sidecar: Running, upstream: RawUpstream
) -> None:
    upstream.script = BREAKS["stalled"]
    await ask(sidecar)
    async with asyncio.timeout(10):
        await upstream.gone.wait()
