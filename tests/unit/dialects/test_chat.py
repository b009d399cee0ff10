"""What a chat completion asks and needs, read without changing it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sidecar.dialects.base import input_bound
from sidecar.dialects.chat import ChatDialect
from sidecar.errors import BadRequest, UpstreamsFailed
from sidecar.types import Usage

CHAT = ChatDialect()
USER = {"role": "user", "content": "hi"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CALLS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}


def read(*messages: Any, **fields: Any) -> Any:
    return CHAT.read({"model": "auto", "messages": list(messages) or [USER], **fields})


@pytest.mark.parametrize(
    ("messages", "fields", "needs"),
    [
        ([USER], {}, set()),
        ([USER], {"tools": [], "functions": None, "response_format": None}, set()),
        ([USER], {"tools": [{"type": "function", "function": {"name": "f"}}]}, {"tools"}),
        ([USER], {"functions": [{"name": "f"}]}, {"tools"}),
        ([USER, CALLS], {}, {"tools"}),
        ([USER, CALLS, {"role": "tool", "tool_call_id": "c1", "content": "4"}], {}, {"tools"}),
        ([USER, {"role": "tool", "tool_call_id": "c1", "content": "4"}], {}, {"tools"}),
        ([USER, {"role": "function", "name": "f", "content": "4"}], {}, {"tools"}),
        (
            [USER, {"role": "assistant", "content": None, "function_call": {"name": "f"}}],
            {},
            {"tools"},
        ),
        ([USER], {"response_format": {"type": "json_schema", "json_schema": {}}}, {"json_schema"}),
        ([USER], {"response_format": {"type": "json_object"}}, set()),
        ([USER], {"response_format": {"type": "text"}}, set()),
        ([{"role": "user", "content": [IMAGE]}], {}, {"vision"}),
        ([{"role": "user", "content": [IMAGE]}, USER], {}, {"vision"}),
        (
            [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "A"}}]}],
            {},
            {"audio"},
        ),
        (
            [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}],
            {},
            {"files"},
        ),
        ([USER], {"modalities": ["text", "audio"]}, {"audio"}),
        ([USER], {"modalities": ["text"]}, set()),
        (
            [{"role": "user", "content": [IMAGE]}],
            {"tools": [{"type": "function"}], "response_format": {"type": "json_schema"}},
            {"vision", "tools", "json_schema"},
        ),
    ],
)
def test_what_a_request_needs(messages: list[Any], fields: dict[str, Any], needs: set[str]) -> None:
    assert read(*messages, **fields).needs == needs


def test_the_text_is_that_of_the_last_user_turn() -> None:
    asked = read(
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": [{"type": "text", "text": "be kind"}]},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answer"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "a"}, IMAGE, {"type": "text", "text": "b"}],
        },
        {"role": "assistant", "content": "yes?"},
    )
    assert asked.prompt.user == "a\nb"
    assert asked.prompt.system == "be brief\nbe kind"
    assert (asked.prompt.turns, asked.prompt.media, asked.messages) == (2, 1, 6)


def test_in_a_tool_loop_the_text_is_still_the_users() -> None:
    asked = read(
        {"role": "user", "content": "what is 2+2?"},
        CALLS,
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
    )
    assert asked.prompt.user == "what is 2+2?"
    assert asked.prompt.turns == 1


def test_without_a_user_turn_the_last_text_stands_in() -> None:
    asked = read({"role": "system", "content": "summarise"}, {"role": "assistant", "content": ""})
    assert (asked.prompt.user, asked.prompt.turns) == ("summarise", 1)


def test_tools_are_counted_and_known_by_name() -> None:
    assert read(tools=[{}, {}], functions=[{}]).prompt.tools == 3
    tools = [
        {"type": "function", "function": {"name": "f"}},
        {"type": "custom", "custom": {"name": "c"}},
        {"type": "web_search"},
    ]
    asked = read(tools=tools, functions=[{"name": "old"}])
    assert asked.prompt.tool_names == ("f", "c", "web_search", "old")


def test_an_assistants_null_content_needs_a_reason() -> None:
    assert read(USER, CALLS)
    assert read(USER, {"role": "assistant", "content": None, "refusal": "no"})
    assert read(USER, {"role": "assistant", "audio": {"id": "a"}})
    assert read(USER, {"role": "assistant", "content": None, "reasoning_content": "hm"})
    with pytest.raises(BadRequest, match=r"messages\[1\].content"):
        read(USER, {"role": "assistant", "content": None, "name": "bob", "refusal": None})


def test_streaming_is_only_a_true_stream() -> None:
    assert read(stream=True).stream
    assert not read(stream=False).stream
    assert not read(stream=None).stream
    assert not read().stream


def test_the_asked_length_is_read_in_either_name() -> None:
    assert read(max_tokens=5).max_output_tokens == 5
    assert read(max_completion_tokens=7, max_tokens=5).max_output_tokens == 7
    assert read().max_output_tokens is None
    assert read(max_tokens=-1).max_output_tokens is None  # to some upstreams: no limit
    assert read(max_completion_tokens=-(10**9)).max_output_tokens is None


def test_unknown_fields_are_the_upstreams_affair() -> None:
    assert read(some_future_field={"x": [1]}, provider=3)


WRONG = {
    "temperature": ["1", [], {}, True],
    "top_p": ["1", True],
    "presence_penalty": ["x"],
    "frequency_penalty": [[]],
    "n": [1.5, "1", True],
    "seed": ["x", 1.5],
    "top_logprobs": ["x"],
    "max_tokens": ["5", 5.5, [5], True],
    "max_completion_tokens": ["5"],
    "stop": [1, {}, True],
    "stream": ["true", 1, 0, {}],
    "logprobs": [1, "x"],
    "parallel_tool_calls": ["x"],
    "user": [1, {}],
    "reasoning_effort": [1],
    "tools": [{}, "x", 1],
    "functions": [{}],
    "tool_choice": [1, []],
    "response_format": ["json", [], 1],
    "stream_options": [True, []],
    "logit_bias": [[]],
    "metadata": ["x"],
    "modalities": ["audio", {}],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in WRONG.items() for v in vs])
def test_a_wrong_type_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(BadRequest, match=f"^`{key}` must be ") as caught:
        read(**{key: value})
    assert caught.value.param == key


@pytest.mark.parametrize("key", sorted(WRONG))
def test_null_is_as_if_not_said(key: str) -> None:
    assert read(**{key: None})


@pytest.mark.parametrize("model", [None, "", 1, [], {}, True])
def test_a_model_must_be_a_string_that_says_something(model: object) -> None:
    with pytest.raises(BadRequest, match="`model`"):
        CHAT.read({"model": model, "messages": [USER]})
    with pytest.raises(BadRequest, match="`model`"):
        CHAT.read({"messages": [USER]})


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ([], "messages"),
        ({}, "messages"),
        ("hi", "messages"),
        ([None], "messages[0]"),
        (["hi"], "messages[0]"),
        ([[USER]], "messages[0]"),
        ([USER, 3], "messages[1]"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": None, "content": "x"}], "messages[0].role"),
        ([{"role": ["user"], "content": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": 3}], "messages[0].content"),
        ([{"role": "user", "content": {}}], "messages[0].content"),
        ([{"role": "user", "content": True}], "messages[0].content"),
        ([{"role": "user", "content": ["x"]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [None]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": 1}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": ["text"]}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        (
            [{"role": "user", "content": [{"type": "text", "text": 1}]}],
            "messages[0].content[0].text",
        ),
    ],
)
def test_messages_of_the_wrong_shape_are_refused_where_they_are(
    messages: object, param: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        CHAT.read({"model": "auto", "messages": messages})
    assert caught.value.param == param
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": ["x"]}, "tools[0]"),
        ({"tools": [{}, None]}, "tools[1]"),
        ({"functions": [1]}, "functions[0]"),
        ({"response_format": {"type": 1}}, "response_format.type"),
        ({"response_format": {"kind": "json_schema"}}, "response_format.type"),
    ],
)
def test_tools_and_formats_of_the_wrong_shape_are_refused(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "odd", [{"tool_calls": 3}, {"tool_calls": "x"}, {"refusal": 3}, {"name": 3}]
)
def test_odd_fields_of_a_message_never_raise(odd: dict[str, Any]) -> None:
    assert read(USER, {"role": "assistant", "content": "x", **odd})


@pytest.mark.parametrize(
    ("kind", "needs"),
    [
        ("hologram", set()),
        ("thinking", set()),
        ("input_image", {"vision"}),
        ("image_embeds", {"vision"}),
        ("video_url", {"vision"}),
        ("audio_url", {"audio"}),
        ("document_url", {"files"}),
        ("input_file", {"files"}),
    ],
)
def test_a_part_of_another_type_is_the_upstreams_affair_and_its_name_tells_what_it_needs(
    kind: str, needs: set[str]
) -> None:
    part = {"type": kind, kind: {"url": "x" * 3000}}
    asked = read({"role": "user", "content": [part, {"type": "text", "text": "what is it?"}]})
    assert asked.prompt.user == "what is it?"
    assert asked.needs == needs
    assert (asked.media_bytes >= 3000) == bool(needs)


@pytest.mark.parametrize("odd", [[{"a": 1}, 3], [None], [["audio"]]])
def test_odd_modalities_never_raise(odd: list[Any]) -> None:
    assert read(modalities=odd).needs == frozenset()


def test_the_input_bound_counts_text_by_bytes_and_media_by_the_piece() -> None:
    text = read({"role": "user", "content": "x" * 3000})
    body = len(
        orjson.dumps({"model": "auto", "messages": [{"role": "user", "content": "x" * 3000}]})
    )
    assert 1000 <= input_bound(body, text) <= 1100
    picture = {"type": "image_url", "image_url": {"url": "x" * 300_000}}
    asked = read({"role": "user", "content": [picture]})
    assert 1500 <= input_bound(300_200, asked) < 2000


def test_an_error_has_the_shape_of_openais() -> None:
    fault = BadRequest("Say more.", param="messages", code="invalid_json")
    assert orjson.loads(CHAT.error(fault, "req_1")) == {
        "error": {
            "message": "Say more.",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "invalid_json",
            "request_id": "req_1",
        }
    }


def test_an_error_in_a_stream_is_one_event() -> None:
    framed = CHAT.error_event(UpstreamsFailed("x", status=504, code="upstream_timeout"), "req_1")
    assert framed.startswith(b"data: {")
    assert framed.endswith(b"}\n\n")
    assert framed.count(b"\n") == 2
    assert CHAT.event(framed[6:-2]).error


def test_usage_of_an_answer() -> None:
    answer = b'{"usage":{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":null}}'
    assert CHAT.usage(answer) == Usage(3, None, 4)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}',
        b'{"choices":[],"usage" :\n{"prompt_tokens":3,"completion_tokens":4} , "tier":"x"}\n',
        b'{"usage":{"prompt_tokens":3,"completion_tokens":4},"choices":[{"usage":{}}]}',
        b'{"usage":{"prompt_tokens":3,"completion_tokens":4},"choices":["usage"]}',
        b'{"usage":{"prompt_tokens":3,"completion_tokens":4},"x":"\\"usage\\":{}}"}',
        b'{"usage":{"prompt_tokens":9},"usage":{"prompt_tokens":3,"completion_tokens":4}}',
        b'{"x":{"usage":{"prompt_tokens":9}},"usage":{"prompt_tokens":3,"completion_tokens":4}}',
        b'{"\\u0075sage":{"prompt_tokens":3,"completion_tokens":4},"x":{"usage":{}}}',
    ],
)
def test_the_usage_is_the_answers_own_wherever_it_stands(answer: bytes) -> None:
    assert CHAT.usage(answer) == Usage(3, None, 4)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"choices":[{"usage":{"prompt_tokens":3}}]}',
        b'{"x":"\\"usage\\":{\\"prompt_tokens\\":3}}"}',
        b'{"choices":[],"usage":{"prompt_tokens":3',
        b'{"choices":[],"usage":null}',
        b'{"choices":[],"usage":[3]}',
        b'["usage"]',
    ],
)
def test_what_is_no_usage_of_the_answer_is_unknown(answer: bytes) -> None:
    assert CHAT.usage(answer) == Usage()
