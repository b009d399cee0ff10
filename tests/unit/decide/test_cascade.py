"""A cheap model first: when it is tried, and what its answer must be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.config.schema import Cascade
from sidecar.config.snapshot import RouteSpec
from sidecar.decide.answer_check import fault
from sidecar.decide.candidates import Candidates
from sidecar.decide.policies import cascade, cost_quality
from sidecar.decide.policies.base import Situation
from sidecar.decide.view import EMPTY
from sidecar.dialects.answers import said
from sidecar.types import Call, Candidate, Hints
from tests.support.builders import FakeAbilities, call, reading

RULES = Cascade()


# -- when it is tried -------------------------------------------------------------------


def situation(candidates: list[Candidate], rules: Cascade = RULES, ood: float = 0.0) -> Situation:
    names = tuple(c.model for c in candidates)
    route = RouteSpec("auto", "cascade", names, names[-1], 0.97, 0.5, (), cascade=rules)
    return Situation(
        call(), route, reading(ood=ood), Candidates.of(candidates), {}, FakeAbilities(), EMPTY
    )  # fmt: skip


def three(cheap: float, middle: float = 0.8, dear: float = 0.95) -> list[Candidate]:
    return [
        Candidate("cheap", cheap, 0.001),
        Candidate("middle", middle, 0.004),
        Candidate("dear", dear, 0.02),
    ]


def test_a_cheaper_model_that_is_likely_enough_is_tried_first() -> None:
    choice = cascade.pick(situation(three(0.75, 0.7)))
    assert (choice.order, choice.tries) == (("cheap", "dear", "middle"), 1)


def test_the_try_with_the_least_expected_cost_is_taken() -> None:
    """The dearer one of two, where it spares the second call more often."""
    assert cascade.pick(situation(three(0.67, 0.9))).order[0] == "middle"


@pytest.mark.parametrize(
    ("candidates", "rules"),
    [
        (three(0.5, 0.5), Cascade()),  # not likely enough
        (three(0.9, 0.9), Cascade(max_overhead=0.01)),  # losing would cost too much
        (three(0.96), Cascade()),  # the cheap one is good enough without a second
        ([Candidate("cheap", 0.22, 0.005), Candidate("dear", 0.3, 0.02)], Cascade()),  # p <= c / s
    ],
    ids=["unlikely", "too dear a try", "good enough", "no saving"],
)
def test_where_no_try_is_worth_it_there_is_none(
    candidates: list[Candidate], rules: Cascade
) -> None:
    asked = situation(candidates, rules)
    choice = cascade.pick(asked)
    assert (choice.order, choice.tries) == (cost_quality.pick(asked).order, 0)


def test_text_unlike_the_training_data_goes_up_at_once() -> None:
    choice = cascade.pick(situation(three(0.9), ood=0.9))
    assert (choice.order[0], choice.tries) == ("dear", 0)


def test_a_try_and_what_follows_it_keep_the_limit_of_the_request() -> None:
    """Each of the two is within it, and both together would not be."""
    asked = situation(three(0.75, 0.7))
    for limit, tries in ((0.0211, 1), (0.0209, 0)):
        by_caller = replace(asked, call=call(hints=Hints(max_cost_usd=limit)))
        by_route = replace(asked, route=replace(asked.route, max_cost_usd=limit))
        for one in (by_caller, by_route):
            choice = cascade.pick(one)
            assert choice.tries == tries
            assert choice.order[0] == ("cheap" if tries else "dear")
    generous = replace(asked.route, max_cost_usd=0.0209)  # the caller's stands in its place
    both = replace(asked, route=generous, call=call(hints=Hints(max_cost_usd=1.0)))
    assert cascade.pick(both).tries == 1


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(1e-6, 1.0)), min_size=1, max_size=6),
    st.floats(0.01, 1.0),
)
def test_both_calls_never_cost_more_than_the_stated_share_above_always_strong(
    raw: list[tuple[float, float]], overhead: float
) -> None:
    candidates = [Candidate(f"m{i}", p, cost) for i, (p, cost) in enumerate(raw)]
    costs = {c.model: c.cost_usd for c in candidates}
    choice = cascade.pick(situation(candidates, Cascade(max_overhead=overhead)))
    worst = sum(costs[name] for name in choice.order[: choice.tries + 1])
    assert worst <= (1 + overhead) * max(costs.values()) + 1e-12
    if choice.tries:
        assert worst <= (1 + overhead) * costs[choice.order[1]] + 1e-12


# -- what the answer must be ------------------------------------------------------------


def chat(text: str | None = "An answer.", end: str = "stop", **kw: Any) -> bytes:
    message = {"role": "assistant", "content": text, **kw.pop("message", {})}
    return orjson.dumps({"choices": [{"message": message, "finish_reason": end, **kw}]})


def asking(**fields: Any) -> Call:
    body = orjson.dumps({"model": "auto", "messages": [], **fields})
    return replace(call(max_output_tokens=fields.get("max_tokens")), body=body)


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
REMOTE = {"type": "json_schema", "json_schema": {"schema": {"$ref": "http://127.0.0.1:1/x"}}}


@pytest.mark.parametrize(
    ("body", "asked", "lacks"),
    [
        (chat(), asking(), None),
        (chat(""), asking(), "empty"),
        (chat(" \n"), asking(), "empty"),
        (chat(None), asking(), "empty"),
        (b'{"choices":[]}', asking(), "empty"),
        (b'{"choices":7}', asking(), "empty"),
        (b"[]", asking(), "empty"),
        (chat(None, message={"tool_calls": [{"id": "c"}]}), asking(), None),
        (chat("Once upon", "length"), asking(), "cut off"),
        (chat("Once upon", "length"), asking(max_tokens=2), None),
        (chat("x", "content_filter"), asking(), "filtered"),
        (chat("I\u2019m sorry, but I can\u2019t help with that."), asking(), "refuses"),
        (chat(None, message={"refusal": "No."}), asking(), "refuses"),
        (chat("He wrote: as you know, I went home, and " * 9 + "as an AI"), asking(), None),
        (chat('{"n": 1}'), asking(response_format=FORM), None),
        (chat('{"n": "1"}'), asking(response_format=FORM), "schema"),
        (chat("n = 1"), asking(response_format=FORM), "not JSON"),
        (chat("n = 1"), asking(response_format={"type": "json_object"}), "not JSON"),
        (chat("[]"), asking(response_format={"type": "json_object"}), None),
        (chat("[]"), asking(response_format=REMOTE), None),  # nothing is fetched, nothing judged
        (chat(logprobs={"content": [{"logprob": -3.0}, {"logprob": -1.0}]}), asking(), "-2.00"),
        (chat(logprobs={"content": [{"logprob": -0.5}]}), asking(), None),
    ],
)
def test_an_answer_is_judged_by_what_can_be_seen_of_it(
    body: bytes, asked: Call, lacks: str | None
) -> None:
    why = fault(said("chat", body, streaming=False), asked, Cascade(min_logprob=-1.5))
    assert (why is None) if lacks is None else (why is not None and lacks in why)


def test_a_schema_with_a_pattern_that_explodes_costs_no_time() -> None:
    evil = {"type": "json_schema", "schema": {"type": "string", "pattern": "^(a+)+$"}}
    body = chat(orjson.dumps("a" * 5000 + "!").decode())
    why = fault(said("chat", body, streaming=False), asking(output_format=evil), Cascade())
    assert why is not None


def test_checks_can_be_switched_off() -> None:
    lax = Cascade(refusals=False, json_schema=False)
    for text in ("I can't help with that", "n = 1"):
        answer = said("chat", chat(text), streaming=False)
        assert fault(answer, asking(response_format=FORM), lax) is None


def events(*each: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(e) + b"\n\n" for e in each) + b"data: [DONE]\n\n"


def delta(**kw: Any) -> dict[str, Any]:
    end = kw.pop("end", None)
    return {"choices": [{"delta": kw, "finish_reason": end}]}


def chosen(index: int, **kw: Any) -> dict[str, Any]:
    said = delta(**kw)
    said["choices"][0]["index"] = index
    return said


MESSAGE = {
    "type": "message",
    "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "Hi"}],
}
RESPONSE = {
    "status": "completed",
    "output": [
        {"type": "reasoning"},
        {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
    ],
}
CUT = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []}


@pytest.mark.parametrize(
    ("dialect", "body", "streaming", "text", "end", "acts"),
    [
        ("chat", events(delta(role="x"), delta(content="H"), delta(content="i", end="stop")),
         True, "Hi", "", False),
        ("chat", events(delta(tool_calls=[{}], end="tool_calls")), True, "", "", True),
        ("chat", events(  # of several choices the first, whichever chunk it comes in
            chosen(1, content="No"), chosen(0, content="Hi"), chosen(1, end="length"),
            chosen(0, end="stop")), True, "Hi", "", False),
        ("completions", orjson.dumps({"choices": [{"text": "Hi", "finish_reason": "length"}]}),
         False, "Hi", "length", False),
        ("messages", orjson.dumps(MESSAGE), False, "Hi", "", False),
        ("messages", orjson.dumps({**MESSAGE, "stop_reason": "refusal", "content": []}), False,
         "", "refused", False),
        ("messages", events(
            {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f"}},
            {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}}), True,
         "", "length", True),
        ("messages", events(
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}}), True,
         "Hi", "", False),
        ("responses", orjson.dumps(RESPONSE), False, "Hi", "", False),
        ("responses", orjson.dumps(CUT), False, "", "length", False),
        ("responses", events({"type": "response.output_text.delta", "delta": "H"},
                             {"type": "response.completed", "response": RESPONSE}), True,
         "Hi", "", False),
    ],
)  # fmt: skip
def test_every_dialects_answer_is_read_whole_or_streamed(
    dialect: str, body: bytes, streaming: bool, text: str, end: str, acts: bool
) -> None:
    answer = said(dialect, body, streaming=streaming)
    assert (answer.text, answer.end, answer.acts) == (text, end, acts)


@pytest.mark.parametrize("dialect", ["chat", "completions", "messages", "responses"])
@given(body=st.binary(max_size=80), streaming=st.booleans())
@settings(max_examples=50)
def test_any_bytes_are_read_without_a_fault(dialect: str, body: bytes, streaming: bool) -> None:
    said(dialect, body, streaming=streaming)
