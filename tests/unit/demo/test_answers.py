"""What the mock says fits what was asked, for every request of the demo."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from sidecar.demo import answers, traffic, wire
from sidecar.demo.roster import DEFAULT_MODELS, MockModel
from sidecar.demo.traffic import Ask

SMALL, _, LARGE = DEFAULT_MODELS
ASKS = list(traffic.asks())
WITH_SCHEMA = [ask for ask in ASKS if "response_format" in ask.body]
WITH_TOOLS = [ask for ask in ASKS if "tools" in ask.body]
KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def faults(value: Any, schema: dict[str, Any], at: str = "$") -> list[str]:
    """Where ``value`` does not fit ``schema``: the keywords that the demo's schemas use."""
    if "anyOf" in schema:
        tried = [faults(value, branch, at) for branch in schema["anyOf"]]
        return [] if any(not each for each in tried) else tried[0]
    found = []
    if "type" in schema and not isinstance(value, KINDS[schema["type"]]):
        return [f"{at} is not of type {schema['type']}: {value!r}"]
    checks = {
        "enum": lambda bound: value in bound,
        "pattern": lambda bound: re.search(bound, value),
        "maxLength": lambda bound: len(value) <= bound,
        "minItems": lambda bound: len(value) >= bound,
        "maxItems": lambda bound: len(value) <= bound,
        "minimum": lambda bound: value >= bound,
        "maximum": lambda bound: value <= bound,
        "exclusiveMinimum": lambda bound: value > bound,
        "required": lambda bound: set(bound) <= set(value),
    }
    found += [
        f"{at}: {key}" for key, fits in checks.items() if key in schema and not fits(schema[key])
    ]
    for name, inner in schema.get("properties", {}).items():
        if name in value:
            found += faults(value[name], inner, f"{at}.{name}")
    if schema.get("additionalProperties") is False:
        found += [f"{at} has {name}" for name in set(value) - set(schema["properties"])]
    if "items" in schema:
        for i, item in enumerate(value):
            found += faults(item, schema["items"], f"{at}[{i}]")
    return found


@pytest.mark.parametrize("ask", WITH_SCHEMA, ids=lambda ask: ask.id)
def test_a_structured_answer_fits_its_schema(ask: Ask) -> None:
    answer = answers.compose(LARGE, ask.body)
    schema = ask.body["response_format"]["json_schema"]["schema"]
    assert faults(json.loads(answer.text), schema) == []
    assert "mock" in answer.text


@pytest.mark.parametrize("ask", WITH_TOOLS, ids=lambda ask: ask.id)
def test_a_tool_call_fits_the_tools_parameters(ask: Ask) -> None:
    offered = {tool["function"]["name"]: tool["function"] for tool in ask.body["tools"]}
    for name in offered:
        choice = {"type": "function", "function": {"name": name}}
        (call,) = answers.compose(LARGE, {**ask.body, "tool_choice": choice}).calls
        assert call.name == name
        assert faults(json.loads(call.arguments), offered[name]["parameters"]) == []


def test_tools_are_called_where_they_are_wanted_and_not_in_small_talk() -> None:
    called = {ask.gist: bool(answers.compose(LARGE, ask.body).calls) for ask in WITH_TOOLS}
    assert called["What's the weather in Lisbon tomorrow, in celsius?"]
    assert called["Dim the light in the living room to 30 please"]
    assert not called["Tell me a joke about lighthouses."]
    assert not called["Thanks, all good now!"]
    assert not any(
        called[ask.gist] for ask in WITH_TOOLS if ask.body["messages"][-1]["role"] == "tool"
    )


@pytest.mark.parametrize("model", DEFAULT_MODELS, ids=lambda model: model.name)
def test_every_text_says_whose_mock_it_is(model: MockModel) -> None:
    for ask in ASKS:
        answer = answers.compose(model, ask.body)
        assert model.name in answer.text + "".join(call.arguments for call in answer.calls) or (
            answer.calls or "response_format" in ask.body
        )


def test_the_length_of_an_answer_does_not_depend_on_the_model() -> None:
    for ask in ASKS:
        if "tools" not in ask.body and "response_format" not in ask.body:
            small, large = (answers.compose(m, ask.body).tokens for m in (SMALL, LARGE))
            assert abs(small - large) <= 40, ask.id


def test_greetings_are_answered_briefly_and_proofs_at_length() -> None:
    def length(text: str) -> int:
        return answers.compose(LARGE, {"messages": [{"role": "user", "content": text}]}).tokens

    assert length("Hi!") < 40 < 200 < length("Prove that there are infinitely many primes.")


def test_the_pieces_of_a_stream_joined_are_the_answer() -> None:
    for ask in ASKS:
        answer = answers.compose(LARGE, ask.body)
        reply = wire.reply(LARGE, answer, wire.Bill(1, 0, 1), ask.body, raw=b"{}", nth=0)
        text = arguments = ""
        for event in reply.events():
            data = event.data.removeprefix(b"data: ").strip()
            if data == b"[DONE]":
                continue
            delta = json.loads(data)["choices"][0]["delta"]
            text += delta.get("content") or ""
            for call in delta.get("tool_calls") or ():
                arguments += call["function"].get("arguments", "")
        assert text == answer.text
        assert arguments == "".join(call.arguments for call in answer.calls)
