"""Odd but legal requests of every API, and the official clients' own types as the yardstick."""

from __future__ import annotations

import typing
from typing import Any

import orjson
import pytest
from anthropic.types import RawMessageStreamEvent
from openai.types.responses import ResponseStreamEvent

from sidecar.dialects import DIALECTS
from sidecar.dialects.base import Asked, Event, input_bound
from sidecar.types import Usage

PNG = "data:image/png;base64," + "A" * 300_000
PDF = "data:application/pdf;base64," + "A" * 300_000


def read(dialect: str, **body: Any) -> Asked:
    return DIALECTS[dialect].read({"model": "auto", **body})


def bound(dialect: str, **body: Any) -> int:
    return input_bound(len(orjson.dumps({"model": "auto", **body})), read(dialect, **body))


def event(dialect: str, **data: Any) -> Event:
    return DIALECTS[dialect].event(orjson.dumps(data))


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


# -- what stands in a tool's output ----------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "needs"),
    [
        (
            {"type": "function_call_output", "call_id": "c", "output": "42"},
            {"tools"},
        ),
        (
            {
                "type": "function_call_output",
                "call_id": "c",
                "output": [
                    {"type": "input_text", "text": "see"},
                    {"type": "input_image", "image_url": PNG},
                ],
            },
            {"tools", "vision"},
        ),
        (
            {
                "type": "custom_tool_call_output",
                "call_id": "c",
                "output": [{"type": "input_file", "file_data": PDF}],
            },
            {"tools", "files"},
        ),
        (
            {
                "type": "computer_call_output",
                "call_id": "c",
                "output": {"type": "computer_screenshot", "image_url": PNG},
            },
            {"tools", "vision"},
        ),
    ],
)
def test_a_tools_output_is_looked_through(item: dict[str, Any], needs: set[str]) -> None:
    asked = read("responses", input=[{"role": "user", "content": "go on"}, item])
    assert asked.needs == needs
    assert asked.prompt.in_tool_loop
    assert asked.prompt.user == "go on"
    # its pictures and files are counted by the piece, not as 100,000 tokens of text
    assert bound("responses", input=[item]) < 2000


def test_a_picture_that_was_made_is_a_picture_and_one_that_is_named_is_none() -> None:
    made = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": PNG}
    assert read("responses", input=[made]).needs == {"tools", "vision"}
    assert bound("responses", input=[made]) < 2000
    named = {"type": "image_generation_call", "id": "ig_1"}
    assert read("responses", input=[named]).needs == {"tools"}


def test_a_tools_result_of_messages_is_looked_through() -> None:
    picture = {"type": "image", "source": {"type": "base64", "data": PNG}}
    page = {"type": "document", "source": {"type": "base64", "data": PDF}}
    fetched = {
        "type": "web_fetch_tool_result",
        "tool_use_id": "t",
        "content": {"type": "web_fetch_result", "url": "https://x", "content": page},
    }
    result = {
        "type": "tool_result",
        "tool_use_id": "t",
        "content": [{"type": "text", "text": "see"}, picture],
    }
    asked = read("messages", messages=user(result))
    assert asked.needs == {"tools", "vision"}
    assert (asked.prompt.media, asked.prompt.in_tool_loop) == (1, True)
    assert bound("messages", messages=user(result)) < 2000
    turns = [*user({"type": "text", "text": "read x"}), {"role": "assistant", "content": [fetched]}]
    asked = read("messages", messages=turns)
    assert asked.needs == {"files"}
    assert not asked.prompt.in_tool_loop  # the API's own tool: nothing is waited for
    assert bound("messages", messages=turns) < 2000


def test_a_document_of_text_is_as_long_as_its_text() -> None:
    text = "x" * 300_000
    plain = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": text},
    }
    blocks = {
        "type": "document",
        "source": {
            "type": "content",
            "content": [
                {"type": "text", "text": text},
                {"type": "image", "source": {"type": "base64", "data": PNG}},
            ],
        },
    }
    pdf = {"type": "document", "source": {"type": "base64", "data": "A" * 300_000}}
    assert bound("messages", messages=user(plain)) > 100_000
    assert read("messages", messages=user(plain)).needs == {"files"}
    assert 100_000 < bound("messages", messages=user(blocks)) < 110_000
    assert read("messages", messages=user(blocks)).needs == {"files", "vision"}
    assert bound("messages", messages=user(pdf)) < 2000
    data = "data:text/csv;base64," + "A" * 300_000
    assert bound("responses", input=user({"type": "input_file", "file_data": data})) > 100_000
    assert bound("responses", input=user({"type": "input_file", "file_data": PDF})) < 2000
    chat = user({"type": "file", "file": {"file_data": data, "filename": "a.csv"}})
    assert bound("chat", messages=chat) > 100_000


# -- items, blocks and fields of all kinds ---------------------------------------------------


@pytest.mark.parametrize(
    ("items", "needs", "stateful"),
    [
        ([{"type": "item_reference", "id": "msg_1"}], set(), True),
        ([{"type": None, "id": "msg_1"}], set(), True),
        ([{"id": "msg_1"}], set(), True),
        ([{"type": None, "role": "user", "content": "hi"}], set(), False),
        ([{"type": "reasoning", "id": "rs_1", "summary": []}], set(), False),
        ([{"type": "additional_tools", "role": "developer", "tools": [{}]}], {"tools"}, False),
        ([{"type": "tool_search_output", "tools": [{"type": "mcp"}]}], {"tools"}, False),
        ([{"type": "mcp_list_tools", "server_label": "s", "tools": [{}]}], {"tools"}, False),
        (
            [{"type": "configuration_update", "text": {"format": {"type": "json_schema"}}}],
            {"json_schema"},
            False,
        ),
        ([{"type": "compaction", "encrypted_content": "x"}], set(), False),
        ([{"type": "something_new", "x": [1]}], set(), False),
    ],
)
def test_items_that_are_no_message(
    items: list[dict[str, Any]], needs: set[str], stateful: bool
) -> None:
    asked = read("responses", input=items)
    assert (asked.needs, asked.stateful) == (needs, stateful)


@pytest.mark.parametrize("key", ["previous_response_id", "conversation", "prompt"])
@pytest.mark.parametrize("nothing", [{}, {"input": []}, {"input": None}, {"input": ""}])
def test_an_input_may_be_missing_where_the_upstream_keeps_one(
    key: str, nothing: dict[str, Any]
) -> None:
    value: Any = {"id": "pmpt_1"} if key == "prompt" else "id_1"
    asked = read("responses", **{key: value}, **nothing)
    assert asked.stateful == (key != "prompt")


@pytest.mark.parametrize(
    "content", [[], [{"type": "thinking", "thinking": "hm", "signature": "s"}], "text", ""]
)
def test_an_assistants_turn_of_messages_may_be_nearly_nothing(content: Any) -> None:
    turns = [*user({"type": "text", "text": "hi"}), {"role": "assistant", "content": content}]
    assert read("messages", messages=turns).prompt.user == "hi"


def test_a_system_turn_within_messages_is_the_systems() -> None:
    turns = [
        *user({"type": "text", "text": "hi"}),
        {"role": "system", "content": "Be brief."},
    ]
    asked = read("messages", messages=turns, system="Be kind.")
    assert (asked.prompt.system, asked.prompt.user) == ("Be kind.\nBe brief.", "hi")


@pytest.mark.parametrize("kind", ["tool_use", "server_tool_use", "mcp_tool_use"])
def test_a_call_of_any_tool_needs_tools(kind: str) -> None:
    turns = [
        *user({"type": "text", "text": "hi"}),
        {"role": "assistant", "content": [{"type": kind, "id": "t", "name": "f", "input": {}}]},
    ]
    assert read("messages", messages=turns).needs == {"tools"}


def test_a_prompt_of_null_is_a_prompt() -> None:
    assert read("completions", prompt=None).prompt.user == ""


# -- several inputs at once ------------------------------------------------------------------


@pytest.mark.parametrize(("dialect", "key"), [("embeddings", "input"), ("completions", "prompt")])
@pytest.mark.parametrize(
    ("value", "largest"),
    [
        ("one", None),
        ([1, 2, 3], 3),  # token ids: one input, and of those nothing has to be guessed
        ([100_000] * 8191, 8191),
        (["x" * 300, "x" * 3000], 1004),
        (["\ud800" * 3], 7),
        ([[1, 2, 3], [1] * 50], 50),
    ],
)
def test_each_of_several_inputs_has_the_window_to_itself(
    dialect: str, key: str, value: Any, largest: int | None
) -> None:
    assert read(dialect, **{key: value}).largest_tokens == largest


# -- what the answers say ---------------------------------------------------------------------


def test_what_an_answer_of_messages_thought_is_counted() -> None:
    counts = {
        "input_tokens": 10,
        "output_tokens": 90,
        "output_tokens_details": {"thinking_tokens": 60},
    }
    assert DIALECTS["messages"].usage(orjson.dumps({"usage": counts})) == Usage(10, None, 90, 60)
    assert event("messages", type="message_delta", usage=counts).usage == Usage(10, None, 90, 60)


@pytest.mark.parametrize("dialect", ["chat", "responses"])
def test_what_was_written_to_a_cache_is_counted(dialect: str) -> None:
    names = ("prompt", "completion") if dialect == "chat" else ("input", "output")
    counts = {
        f"{names[0]}_tokens": 100,
        f"{names[0]}_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 60},
        f"{names[1]}_tokens": 9,
    }
    said = DIALECTS[dialect].usage(orjson.dumps({"usage": counts}))
    assert said == Usage(100, 30, 9, None, 60)


@pytest.mark.parametrize(
    ("total", "output"),
    [
        (16, 6),  # as some upstreams count: what was thought stands beside the answer
        (10, 4),  # as OpenAI does: within it
        (99, 4),
        (None, 4),
    ],
)
def test_what_was_thought_is_charged_for_wherever_it_is_counted(
    total: int | None, output: int
) -> None:
    counts = {
        "prompt_tokens": 10 if total == 16 else 6,
        "completion_tokens": 4,
        "total_tokens": total,
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    said = DIALECTS["chat"].usage(orjson.dumps({"usage": counts}))
    assert (said.output_tokens, said.reasoning_tokens) == (output, 2)


def test_a_response_that_failed_says_what_it_cost() -> None:
    said = {"usage": {"input_tokens": 5, "output_tokens": 6}}
    failed = event("responses", type="response.failed", response=said)
    assert (failed.error, failed.usage) == (True, Usage(5, None, 6))


def kinds(union: Any) -> set[str]:
    """The types of the events of a client's own union."""
    (members, *_) = typing.get_args(union)
    return {typing.get_args(m.model_fields["type"].annotation)[0] for m in typing.get_args(members)}


def test_every_event_of_the_responses_api_is_what_it_is_taken_for() -> None:
    every = kinds(ResponseStreamEvent)
    assert len(every) > 50
    found = {kind: event("responses", type=kind) for kind in every}
    ends = {kind for kind, said in found.items() if said.done}
    assert ends == {"response.completed", "response.incomplete"}
    assert {kind for kind, said in found.items() if said.error} == {"error", "response.failed"}
    content = {kind for kind, said in found.items() if said.content} - ends
    assert content >= {kind for kind in every if kind.endswith(".delta")}
    assert content >= {
        "response.image_generation_call.partial_image",
        "response.web_search_call.searching",
        "response.code_interpreter_call.in_progress",
        "response.output_item.done",
    }
    # what says no more than that something will come, as a stalled answer does too
    assert not content & {
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_summary_part.added",
        "response.mcp_list_tools.in_progress",
    }


def test_every_event_of_the_messages_api_is_what_it_is_taken_for() -> None:
    found = {kind: event("messages", type=kind) for kind in kinds(RawMessageStreamEvent)}
    assert len(found) == 6
    assert {kind for kind, said in found.items() if said.done} == {"message_stop"}
    content = {kind for kind, said in found.items() if said.content}
    assert content == {"content_block_delta", "message_delta"}
    assert not any(said.error for said in found.values())
    tells = DIALECTS["messages"].tells
    assert all(tells(b'{"type":"%s"}' % kind.encode()) for kind in found if "message" in kind)


@pytest.mark.parametrize(("dialect", "key"), [("completions", "prompt"), ("embeddings", "input")])
@pytest.mark.parametrize("token", [1, 150_000])
def test_a_prompt_that_is_tokens_is_as_long_as_it_has_tokens(
    dialect: str, key: str, token: int
) -> None:
    """Its bytes say nothing: a token of one digit takes two of them, one of six takes eight."""
    for value, tokens in (([token] * 300, 300), ([[token] * 100, [token] * 200], 300)):
        asked = read(dialect, **{key: value})
        found = input_bound(len(orjson.dumps(value)), asked)
        assert tokens <= found
        assert 0.75 * found == pytest.approx(tokens, abs=1)  # as it is priced
    assert read(dialect, **{key: ["one", "two"]}).tokens is None
    assert read(dialect, **{key: "one"}).tokens is None
