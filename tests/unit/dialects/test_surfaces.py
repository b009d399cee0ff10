"""Completions, responses, embeddings and messages: what each asks, counts and ends with."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sidecar.dialects import DIALECTS
from sidecar.dialects.base import Asked, Event
from sidecar.errors import BadRequest, UpstreamsFailed
from sidecar.types import Usage


def read(dialect: str, **body: Any) -> Asked:
    return DIALECTS[dialect].read({"model": "auto", **body})


def event(dialect: str, **data: Any) -> Event:
    return DIALECTS[dialect].event(orjson.dumps(data))


@pytest.mark.parametrize(
    ("dialect", "body", "user"),
    [
        ("completions", {"prompt": "Once upon"}, "Once upon"),
        ("completions", {"prompt": ["one", "two"]}, "one\ntwo"),
        ("completions", {"prompt": [1, 2, 3]}, ""),
        ("completions", {"prompt": [[1, 2], [3]]}, ""),
        ("embeddings", {"input": "a text"}, "a text"),
        ("embeddings", {"input": ["a", "b"]}, "a\nb"),
        ("responses", {"input": "hello"}, "hello"),
        ("responses", {"input": [{"role": "user", "content": "hi"}]}, "hi"),
        (
            "responses",
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_text", "text": "first"}]},
                    {"role": "assistant", "content": [{"type": "output_text", "text": "so"}]},
                    {"type": "message", "role": "user", "content": "second"},
                ]
            },
            "second",
        ),
        ("responses", {"previous_response_id": "resp_1"}, ""),
        ("messages", {"messages": [{"role": "user", "content": "hi"}]}, "hi"),
        (
            "messages",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "look it up"}]},
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
                    },
                    {
                        "role": "user",
                        "content": [{"type": "tool_result", "tool_use_id": "t", "content": "42"}],
                    },
                ]
            },
            "look it up",
        ),
    ],
)
def test_the_last_user_turn_is_what_is_read(dialect: str, body: dict[str, Any], user: str) -> None:
    assert read(dialect, **body).prompt.user == user


CHAT = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("dialect", "body", "choices"),
    [
        ("chat", CHAT, 1),
        ("chat", CHAT | {"n": 4}, 4),
        ("chat", CHAT | {"n": None}, 1),
        ("chat", CHAT | {"n": -4}, 1),
        ("completions", {"prompt": "x", "n": 2}, 2),
        ("completions", {"prompt": "x", "n": 2, "best_of": 5}, 5),
        ("completions", {"prompt": "x", "n": 2, "best_of": 5, "stream": True}, 2),
        ("completions", {"prompt": ["x", "y", "z"], "n": 2}, 6),
        ("completions", {"prompt": [[1, 2], [3]]}, 2),
        ("completions", {"prompt": [1, 2, 3]}, 1),
        ("completions", {"prompt": None, "n": 3}, 3),
        ("embeddings", {"input": ["x", "y"]}, 1),
        ("responses", {"input": "x"}, 1),
        ("messages", CHAT, 1),
    ],
)
def test_every_answer_that_is_asked_for_is_counted(
    dialect: str, body: dict[str, Any], choices: int
) -> None:
    assert read(dialect, **body).choices == choices


@pytest.mark.parametrize(
    ("dialect", "body", "needs"),
    [
        ("completions", {"prompt": "x"}, set()),
        ("responses", {"input": "x", "tools": [{"type": "web_search"}]}, {"tools"}),
        (
            "responses",
            {"input": "x", "text": {"format": {"type": "json_schema", "name": "n"}}},
            {"json_schema"},
        ),
        (
            "responses",
            {
                "input": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_image", "image_url": "data:image/png;base64,A"}
                        ],
                    }
                ]
            },
            {"vision"},
        ),
        (
            "responses",
            {"input": [{"type": "function_call_output", "call_id": "c", "output": "1"}]},
            {"tools"},
        ),
        (
            "messages",
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
                            {"type": "document", "source": {"type": "url", "url": "https://x"}},
                        ],
                    }
                ]
            },
            {"vision", "files"},
        ),
        (
            "messages",
            {"messages": [{"role": "user", "content": "x"}], "tools": [{"name": "f"}]},
            {"tools"},
        ),
    ],
)
def test_what_the_answer_needs_is_seen(dialect: str, body: dict[str, Any], needs: set[str]) -> None:
    assert read(dialect, **body).needs == needs


def test_media_count_as_media_and_not_as_text() -> None:
    picture = {"type": "image", "source": {"type": "base64", "data": "A" * 9000}}
    asked = read("messages", messages=[{"role": "user", "content": [picture]}])
    assert asked.prompt.media == 1
    assert asked.media_bytes >= 9000


def test_the_system_prompt_is_found_in_each_dialect() -> None:
    said = read("responses", instructions="Be brief.", input="x").prompt.system
    assert said == "Be brief."
    turn = [{"role": "user", "content": "x"}]
    assert read("messages", system="Be brief.", messages=turn).prompt.system == "Be brief."
    blocks = [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]
    assert read("messages", system=blocks, messages=turn).prompt.system == "Be\nbrief."


@pytest.mark.parametrize(
    ("dialect", "body", "param"),
    [
        ("completions", {}, "prompt"),
        ("completions", {"prompt": []}, "prompt"),
        ("completions", {"prompt": {"a": 1}}, "prompt"),
        ("completions", {"prompt": "x", "max_tokens": "many"}, "max_tokens"),
        ("embeddings", {"input": 3}, "input"),
        ("responses", {}, "input"),
        ("responses", {"input": [1]}, "input[0]"),
        ("responses", {"input": [{"role": 3, "content": "x"}]}, "input[0].role"),
        ("responses", {"input": "x", "stream": "yes"}, "stream"),
        ("messages", {"messages": []}, "messages"),
        ("messages", {"messages": ["hi"]}, "messages[0]"),
        ("messages", {"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
            "messages[0].content[0].text",
        ),
        ("messages", {"messages": [{"role": "user", "content": "x"}], "system": 1}, "system"),
    ],
)
def test_a_wrong_type_is_named(dialect: str, body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(dialect, **body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("dialect", "answer", "usage"),
    [
        (
            "completions",
            {"usage": {"prompt_tokens": 5, "completion_tokens": 7}},
            Usage(5, None, 7),
        ),
        ("embeddings", {"usage": {"prompt_tokens": 5, "total_tokens": 5}}, Usage(5, None, 0)),
        (
            "responses",
            {
                "usage": {
                    "input_tokens": 50,
                    "input_tokens_details": {"cached_tokens": 40},
                    "output_tokens": 9,
                    "output_tokens_details": {"reasoning_tokens": 4},
                }
            },
            Usage(50, 40, 9, 4),
        ),
        (
            "messages",
            {
                "usage": {
                    "input_tokens": 10,
                    "cache_read_input_tokens": 30,
                    "cache_creation_input_tokens": 5,
                    "output_tokens": 9,
                }
            },
            Usage(45, 30, 9, None, 5),
        ),
        ("messages", {"content": []}, Usage()),
        ("responses", {"usage": None}, Usage()),
        ("embeddings", {"usage": [1]}, Usage()),
    ],
)
def test_usage_is_read_and_unknown_stays_unknown(
    dialect: str, answer: dict[str, Any], usage: Usage
) -> None:
    assert DIALECTS[dialect].usage(orjson.dumps(answer)) == usage


def test_a_responses_stream_begins_ends_and_counts() -> None:
    assert not event("responses", type="response.created").content
    assert not event("responses", type="response.in_progress").content
    assert event("responses", type="response.output_text.delta", delta="x").content
    assert event("responses", type="response.function_call_arguments.delta", delta="x").content
    end = event(
        "responses",
        type="response.completed",
        response={"usage": {"input_tokens": 1, "output_tokens": 2}},
    )
    assert end.done
    assert end.usage == Usage(1, None, 2)
    assert event("responses", type="response.failed").error
    assert event("responses", type="error").error


def test_a_messages_stream_begins_ends_and_counts() -> None:
    start = event("messages", type="message_start", message={"usage": {"input_tokens": 3}})
    assert not start.content
    assert start.usage == Usage(3)
    assert not event("messages", type="ping").content
    assert not event("messages", type="content_block_start").content
    assert event("messages", type="content_block_delta").content
    assert event("messages", type="message_delta", usage={"output_tokens": 4}).usage == Usage(
        None, None, 4
    )
    assert event("messages", type="message_stop").done
    assert event("messages", type="error").error


@pytest.mark.parametrize("dialect", list(DIALECTS))
@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"null", b'"x"', b'{"type": 3}', b"\xff"])
def test_garbage_is_an_empty_event(dialect: str, data: bytes) -> None:
    assert DIALECTS[dialect].event(data) == Event()


@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_every_event_that_ends_a_stream_is_found_by_its_pattern(dialect: str) -> None:
    ends = {
        "chat": [b"[DONE]", b'{"choices":[{"finish_reason" : "stop"}]}', b'{"error": {}}'],
        "completions": [b"[DONE]", b'{"usage" : {"prompt_tokens":1}}'],
        "responses": [b'{"type": "response.completed"}', b'{"a":1,"type":"error"}'],
        "messages": [b'{"type":"message_stop"}', b'{"type" : "message_delta"}'],
        "embeddings": [],
    }
    for data in ends[dialect]:
        assert DIALECTS[dialect].tells(data)


@pytest.mark.parametrize(
    ("last", "number"),
    [
        (b"", 0),
        (b'{"type":"response.output_text.delta","sequence_number":41,"delta":"x"}', 42),
        (b'data: {"sequence_number":1}\n\ndata: {"sequence_number" : 2}\n\n', 3),
        (b'{"sequence_number":7,"delta":"say \\"sequence_number\\":99"}', 8),
        (b'{"sequence_number":"x"}', 0),
    ],
)
def test_an_error_goes_on_counting_a_responses_events(last: bytes, number: int) -> None:
    fault = UpstreamsFailed("No upstream.", status=504, code="upstream_timeout")
    event = DIALECTS["responses"].error_event(fault, "req_1", last)
    assert orjson.loads(event.rsplit(b"data: ", 1)[1])["sequence_number"] == number


@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_an_error_has_the_shape_of_its_api(dialect: str) -> None:
    fault = UpstreamsFailed("No upstream.", status=504, code="upstream_timeout")
    body = orjson.loads(DIALECTS[dialect].error(fault, "req_1"))
    event = DIALECTS[dialect].error_event(fault, "req_1")
    assert event.endswith(b"\n\n")
    data = orjson.loads(event.rsplit(b"data: ", 1)[1])
    if dialect == "messages":
        assert body["type"] == data["type"] == "error"
        assert body["error"]["type"] == "timeout_error"
        assert body["request_id"] == "req_1"
        assert event.startswith(b"event: error\n")
    else:
        assert body["error"]["code"] == "upstream_timeout"
        assert body["error"]["request_id"] == "req_1"
