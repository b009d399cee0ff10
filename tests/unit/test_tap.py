"""Taps read a copy of an answer: when content came, whether it is whole, what it cost."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import orjson
import pytest

from sidecar.dialects import DIALECTS
from sidecar.observe.told import model_and_reasons
from sidecar.tap import AnswerTap, BlindTap, StreamTap, UnpackingTap
from sidecar.types import Usage
from tests.support.raw_upstream import ANSWER, DONE, event

CHAT = DIALECTS["chat"]
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7,'
    b'"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
)


def told(dialect: str, *events: dict[str, object]) -> tuple[str, tuple[str, ...]]:
    """What spans are told of a stream of these events."""
    tap = StreamTap(DIALECTS[dialect])
    for each in events:
        tap.feed(b"data: " + orjson.dumps(each) + b"\n\n")
    return model_and_reasons(tap.told())


def test_the_model_and_the_reasons_of_a_stream_are_told_in_every_api() -> None:
    chat = {"model": "gpt-4o-2024-08-06", "object": "chat.completion.chunk"}
    piece = {**chat, "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]}
    ends = [
        {**chat, "choices": [{"index": n, "delta": {}, "finish_reason": why}]}
        for n, why in enumerate(("length", "stop"))
    ]
    assert told("chat", *[piece] * 50, *ends) == ("gpt-4o-2024-08-06", ("length", "stop"))
    # some count in every event, and what they count is not what is told
    counted = {**piece, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    assert told("chat", *[counted] * 50, ends[0]) == ("gpt-4o-2024-08-06", ("length",))
    message = {"type": "message", "model": "claude-x", "usage": {"input_tokens": 1}}
    assert told(
        "messages",
        {"type": "message_start", "message": message},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}},
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {}},
        {"type": "message_stop"},
    ) == ("claude-x", ("max_tokens",))
    going = {"object": "response", "model": "o-x", "status": "in_progress"}
    full = {**going, "status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    large = {**going, "instructions": "i" * 9000}
    for first, last, why in (
        (going, {**going, "status": "completed"}, "completed"),
        (large, full, "content_filter"),
    ):
        assert told(
            "responses",
            {"type": "response.created", "response": first},
            {"type": "response.output_text.delta", "delta": "x"},
            {"type": "response.completed", "response": last},
        ) == ("o-x", (why,))


def test_what_is_large_is_not_kept_while_its_stream_goes_on() -> None:
    tap = StreamTap(DIALECTS["responses"])
    created = {"type": "response.created", "response": {"instructions": "i" * 9000}}
    tap.feed(b"data: " + orjson.dumps(created) + b"\n\n")
    assert tap.told() == []


@pytest.mark.parametrize(
    "part",
    [b"", b"[]", b"{", b'{"model":3,"choices":[1,{"finish_reason":{}}]}', b'{"delta":4}',
     b'{"response":[],"message":"x","object":"response","status":7}'],
)  # fmt: skip
def test_what_is_odd_tells_nothing_and_raises_nothing(part: bytes) -> None:
    assert model_and_reasons([part]) == ("", ())


def test_a_whole_answer_tells_the_same_and_its_words_are_cut_to_size() -> None:
    tap = AnswerTap(CHAT)
    tap.feed(orjson.dumps(ANSWER))
    assert model_and_reasons(tap.told()) == ("upstream", ("stop",))
    long = {"model": "m" * 999, "choices": [{"finish_reason": "r" * 999}] * 99}
    model, reasons = model_and_reasons([orjson.dumps(long)])
    assert (len(model), len(reasons), len(reasons[0])) == (200, 16, 64)


def tapped(*chunks: bytes) -> StreamTap:
    tap = StreamTap(CHAT)
    for chunk in chunks:
        tap.feed(chunk)
    return tap


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"role": "assistant", "content": "x"},
        {"tool_calls": [{"index": 0, "id": "call_1"}]},
        {"reasoning_content": "hm"},
        {"refusal": "no"},
        {"audio": {"data": "aa"}},
    ],
)
def test_whatever_the_app_would_show_is_content(delta: dict[str, object]) -> None:
    assert tapped(event(delta)).content


@pytest.mark.parametrize(
    "chunk",
    [
        b": keep-alive\n\n",
        b"data: \n\n",
        b"data: not json\n\n",
        b"data: []\n\n",
        b"data: 1\n\n",
        b'data: {"choices":[]}\n\n',
        b'data: {"choices":{}}\n\n',
        b'data: {"choices":[null,1]}\n\n',
        b'data: {"choices":[{"delta":"x"}]}\n\n',
        event({"role": "assistant"}),
        event({"role": "assistant", "content": ""}),
        event({"content": None}),
        USAGE,
        DONE,
    ],
)
def test_what_a_stalled_stream_sends_is_not_content(chunk: bytes) -> None:
    assert not tapped(chunk).content


def test_an_answer_that_is_only_an_ending_counts_as_content() -> None:
    assert tapped(event({}, finish="content_filter")).content


def test_a_stream_is_whole_at_done_or_at_the_reason_of_its_end() -> None:
    begun = event({"content": "x"})
    assert not tapped(begun).whole
    assert tapped(begun, DONE).whole
    assert tapped(begun, event({}, finish="stop")).whole
    assert not tapped(begun, event({"content": "[DONE]"})).whole
    assert not tapped(begun, event({"content": '"finish_reason":"stop"'})).whole


def test_of_several_choices_each_must_end() -> None:
    def ended(choices: int, *indexes: int, done: bool = False) -> bool:
        tap = StreamTap(CHAT, choices)
        tap.feed(event({"content": "x"}))
        for index in indexes:
            tap.feed(event({}, "stop", index))
        if done:
            tap.feed(DONE)
        return tap.whole

    assert ended(3, 0, 2, 1)
    assert not ended(3, 0, 2)
    assert not ended(3, 0, 0, 0)  # one that says it again
    assert ended(3, 0, done=True)  # the upstream's own word: it may have made fewer
    together = orjson.dumps({"choices": [{"finish_reason": "stop"}] * 2})  # without an index
    for end in (b"\n\n", b""):
        tap = StreamTap(CHAT, 2)
        tap.feed(event({"content": "x"}) + b"data: " + together + end)
        assert tap.whole
        tap = StreamTap(CHAT, 3)
        tap.feed(event({"content": "x"}) + b"data: " + together + end)
        assert not tap.whole


@pytest.mark.parametrize("size", [1, 20, 1000])
def test_the_latest_event_is_at_hand(size: int) -> None:
    tap = StreamTap(DIALECTS["responses"])
    for number in range(4):
        said = {"type": "response.output_text.delta", "sequence_number": number, "delta": "x"}
        data = b"data: " + orjson.dumps(said) + b"\n\n"
        for i in range(0, len(data), size):
            tap.feed(data[i : i + size])
        assert tap.last().rindex(b'"sequence_number":%d,' % number)
    tap.feed(b'data: {"type":"response.output_text.delta","sequence_number":4,"delta":"')
    assert tap.last().rindex(b'"sequence_number":4,')


def test_an_end_without_the_blank_line_after_it_is_one_where_nothing_follows() -> None:
    begun = event({"content": "x"})
    finish = event({}, "stop")
    for end in (b"data: [DONE]", b"data: [DONE]\n", b"data:[DONE] \r\n", finish.rstrip()):
        assert tapped(begun, end).whole
        assert tapped(begun, end[:7], end[7:]).whole
    assert not tapped(begun).whole
    assert not tapped(begun, b"data: [DO").whole
    assert not tapped(begun, finish[:-9]).whole
    assert tapped(begun, b"data: [DONE] \n\n").whole


def test_odd_spaces_hide_neither_the_end_nor_the_usage() -> None:
    tap = tapped(
        event({"content": "x"}),
        b'data:{ "choices" : [ {"delta" : {}, "finish_reason" : "stop"} ] }\n\n',
        b'data: {"choices":[], "usage" : {"prompt_tokens" : 3, "completion_tokens":4}}\n\n',
    )
    assert tap.whole
    assert tap.usage() == Usage(3, None, 4)


def test_usage_is_read_from_the_last_event_that_has_one() -> None:
    assert tapped(event({"content": "x"}), USAGE, DONE).usage() == Usage(11, 4, 7)
    assert tapped(event({"content": "x"}), b'data: {"usage":null}\n\n', DONE).usage() == Usage()


@pytest.mark.parametrize("end", [{}, {"input_tokens": 0}, {"input_tokens": 10}])
def test_an_end_that_says_less_of_the_question_takes_nothing_back(end: dict[str, int]) -> None:
    start = {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 1}
    tap = StreamTap(DIALECTS["messages"])
    for said in (
        {"type": "message_start", "message": {"usage": start}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}},
        {"type": "message_delta", "delta": {}, "usage": {**end, "output_tokens": 7}},
    ):
        tap.feed(b"data: " + orjson.dumps(said) + b"\n\n")
    assert tap.usage() == Usage(100, 90, 7)


def test_unknown_usage_is_unknown_and_not_zero() -> None:
    assert tapped(event({"content": "x"}), DONE).usage() == Usage(None, None, None)
    odd = b'data: {"usage":{"prompt_tokens":"11","completion_tokens":true}}\n\n'
    assert tapped(odd).usage() == Usage(None, None, None)


def test_an_error_in_band_is_seen_before_and_after_content() -> None:
    fault = b'data: {"error" : {"message":"overloaded"}}\n\n'
    assert tapped(fault).error
    assert tapped(event({"content": "x"}), fault).error
    assert not tapped(b'data: {"error":null,"choices":[]}\n\n').error


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        (orjson.dumps(ANSWER), Usage(11, None, 7)),
        (b"{}", Usage()),
        (b"[]", Usage()),
        (b"garbage", Usage()),
        (b'{"usage":null}', Usage()),
        (b'{"usage":[1]}', Usage()),
    ],
)
def test_the_usage_of_an_unstreamed_answer(answer: bytes, usage: Usage) -> None:
    tap = AnswerTap(CHAT)
    for i in range(0, len(answer), 10):
        tap.feed(answer[i : i + 10])
    assert tap.content
    assert tap.usage() == usage


def test_a_huge_answer_passes_unkept_and_its_end_is_read() -> None:
    tap = AnswerTap(CHAT)
    for _ in range(40):
        tap.feed(b"x" * (1 << 16))
        assert sum(map(len, tap._chunks)) + len(tap._tail) <= (1 << 20) + (1 << 14)
    assert tap.usage() == Usage()
    tap.feed(b'","finish_reason":"stop"}],"usage" : {"prompt_tokens":11,')
    tap.feed(b'"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4}},"x":{}}')
    assert tap.usage() == Usage(11, 4, 7)


@pytest.mark.parametrize(
    ("dialect", "end", "usage"),
    [
        ("embeddings", b'],"usage":{"prompt_tokens":9,"total_tokens":9}}', Usage(9, None, 0)),
        ("responses", b'"}],"usage":{"input_tokens":9,"output_tokens":3}}', Usage(9, None, 3)),
        ("messages", b'"}],"usage":{"input_tokens":9,"output_tokens":3}}', Usage(9, None, 3)),
        ("chat", b'"}}],"usage":{"prompt_tokens":9,', Usage()),  # it broke off
        ("chat", b'say \\"usage\\":{\\"prompt_tokens\\":9}"}}]}', Usage()),  # of the answer's text
        ("chat", b'"}}],"usage":null}', Usage()),
    ],
)
def test_the_usage_at_the_end_of_a_huge_answer(dialect: str, end: bytes, usage: Usage) -> None:
    tap = AnswerTap(DIALECTS[dialect])
    tap.feed(b'{"usage":{"prompt_tokens":1},"data":["' + b"x" * (1 << 20))
    tap.feed(end)
    assert tap.usage() == usage


def test_the_end_of_a_response_may_be_larger_than_what_is_held() -> None:
    made = b'"output":[{"type":"image_generation_call","result":"' + b"A" * (3 << 20) + b'"}]'
    head = b'{"type":"response.%b","sequence_number":9,"response":{"id":"resp_1","object":"r",'
    end = b',"usage":{"input_tokens":9,"output_tokens":3},"user":null}}'
    for kind, whole in ((b"completed", True), (b"incomplete", True), (b"in_progress", False)):
        tap = StreamTap(DIALECTS["responses"])
        data = b"data: " + head % kind + made + end + b"\n\n"
        for i in range(0, len(data), 50_000):
            tap.feed(data[i : i + 50_000])
            assert len(tap._framer._rest) <= (1 << 20) + 50_000
        assert (tap.whole, tap.content, tap.error) == (whole, True, False)
        assert tap.usage() == (Usage(9, None, 3) if whole else Usage())
        assert tap.answer_id() == ("resp_1" if whole else "")


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_an_event_too_large_to_be_read_is_content_and_no_end(dialect: str) -> None:
    tap = StreamTap(DIALECTS[dialect])
    for piece in (b"data: ", *[b"x" * (1 << 19)] * 4, b"\n\n"):
        tap.feed(piece)
    assert (tap.content, tap.whole, tap.error) == (True, False, False)


def test_a_compressed_answer_is_not_looked_into() -> None:
    tap = BlindTap()
    assert not tap.content
    tap.feed(b"\x1f\x8b")
    assert (tap.content, tap.usage()) == (True, Usage())


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("packed", [gzip.compress, zlib.compress])
def test_a_compressed_answers_usage_is_read_from_a_copy(
    packed: Callable[[bytes], bytes], size: int
) -> None:
    tap = UnpackingTap(AnswerTap(CHAT))
    for piece in pieces(packed(orjson.dumps(ANSWER)), size):
        tap.feed(piece)
    assert (tap.usage(), tap.whole) == (Usage(11, None, 7), True)
    stream = UnpackingTap(StreamTap(CHAT))
    whole = []
    # two members, as a server that compresses each flush on its own sends them
    for piece in pieces(packed(event({"content": "x"})) + packed(USAGE + DONE), size):
        stream.feed(piece)
        whole.append(stream.whole)
    assert (stream.usage(), stream.whole) == (Usage(11, 4, 7), True)
    assert size > 100 or not all(whole)  # until its end has come, it is not whole


def test_what_cannot_be_unpacked_is_not_looked_into_and_not_called_broken() -> None:
    junk = UnpackingTap(StreamTap(CHAT))
    junk.feed(b"no gzip at all")
    assert (junk.content, junk.whole, junk.usage()) == (True, True, Usage())
    after = UnpackingTap(StreamTap(CHAT))
    after.feed(gzip.compress(event({"content": "x"}) + USAGE) + b"\0" * 8)
    assert (after.whole, after.usage()) == (True, Usage(11, 4, 7))
    raw_deflate = zlib.compress(orjson.dumps(ANSWER), wbits=-15)
    raw = UnpackingTap(AnswerTap(CHAT))
    raw.feed(raw_deflate)
    assert raw.usage() == Usage()


def test_a_compressed_answer_that_grows_beyond_reason_is_let_go() -> None:
    tap = UnpackingTap(AnswerTap(CHAT))
    tap.feed(gzip.compress(b"x" * 50_000_000))
    tap.feed(b"more")
    assert (tap.whole, tap.usage()) == (True, Usage())
    assert len(tap._inner._tail) + sum(map(len, tap._inner._chunks)) <= 1 << 20  # type: ignore[union-attr]
