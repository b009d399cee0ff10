"""What a conversation is known by, and what is remembered of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sidecar import headers as head_of
from sidecar.config.snapshot import Price
from sidecar.dialects import DIALECTS
from sidecar.observe.metrics import Registry
from sidecar.parse import Received, parse
from sidecar.state.sessions import Sessions, key_of
from sidecar.types import Call, Decision, Failure, Outcome, Usage
from tests.support.builders import model, snapshot

LARGE = replace(model("large"), price=Price(2.5, 1.25, 10.0))
SMALL = model("small", 0.1)
OVER = snapshot([SMALL, LARGE])
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
REPLY = {"role": "assistant", "content": "hello"}
MORE = {"role": "user", "content": "and then?"}


def asked(
    messages: list[dict[str, Any]], dialect: str = "chat", headers: dict[str, str] | None = None,
    **fields: Any,
) -> Call:  # fmt: skip
    import orjson

    body = orjson.dumps({"model": "auto", "messages": messages, **fields})
    fields = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return parse(Received("r", DIALECTS[dialect], head_of.read(fields), body))


def outcome(name: str, usage: Usage, **kw: Any) -> Outcome:
    given = {"status": 200, "ended": "complete", "reason": "policy", **kw}
    return Outcome(
        model=name, attempts=1, bytes_sent=1, usage=usage, first_byte_ms=1.0, total_ms=2.0, **given
    )


def turn(
    sessions: Sessions, call: Call, name: str, usage: Usage, reason: str = "policy", **kw: Any
) -> None:
    decision = Decision(kw.pop("decided", name), "auto", reason)
    sessions.remember(call, decision, outcome(name, usage, **kw), OVER)


@pytest.fixture
def time() -> list[float]:
    return [1000.0]


@pytest.fixture
def sessions(time: list[float]) -> Sessions:
    return Sessions(100, 3600.0, now=lambda: time[0])


FIRST = Usage(2000, 0, 100)


def test_a_conversation_is_found_again_by_how_it_began(sessions: Sessions) -> None:
    turn(sessions, asked(CHAT), "large", FIRST)
    held = sessions.look(asked([*CHAT, REPLY, MORE]), OVER)
    assert held is not None
    assert (held.model, held.anchor, held.prefix) == ("large", "large", 2100)
    assert held.cached == {"large": 2100}
    assert held.spent_usd == held.stay_usd == pytest.approx(0.006)


@pytest.mark.parametrize(
    "other",
    [
        asked([{"role": "system", "content": "Be long."}, CHAT[1], REPLY, MORE]),
        asked([CHAT[0], {"role": "user", "content": "ho"}, REPLY, MORE]),
        asked([*CHAT, REPLY, MORE], tools=[{"type": "function", "function": {"name": "f"}}]),
        asked([*CHAT, REPLY, MORE], headers={"Authorization": "Bearer other"}),
        asked([*CHAT, REPLY, MORE], headers={"x-router-tenant": "other"}),
        asked([*CHAT, REPLY, MORE], headers={"x-router-session": "mine"}),
        asked(CHAT),  # nobody has answered yet: it begins anew
    ],
    ids=["system", "first turn", "tools", "credentials", "tenant", "session", "anew"],
)
def test_another_conversation_is_another(sessions: Sessions, other: Call) -> None:
    turn(sessions, asked(CHAT), "large", FIRST)
    assert sessions.look(other, OVER) is None


def test_a_named_session_is_the_callers_own_and_needs_no_history(sessions: Sessions) -> None:
    named = {"x-router-session": "s1", "x-api-key": "a"}
    turn(sessions, asked(CHAT, headers=named), "large", FIRST)
    assert sessions.look(asked([MORE], headers=named), OVER) is not None
    other = {"x-router-session": "s1", "x-api-key": "b"}
    assert sessions.look(asked([MORE], headers=other), OVER) is None


def test_a_conversation_that_begins_alike_begins_anew(sessions: Sessions) -> None:
    turn(sessions, asked(CHAT), "large", FIRST)
    turn(sessions, asked(CHAT), "small", Usage(10, 0, 1))
    held = sessions.look(asked([*CHAT, REPLY, MORE]), OVER)
    assert held is not None
    assert (held.model, held.prefix) == ("small", 11)


def test_a_turn_without_an_answer_leaves_it_as_it_was(sessions: Sessions) -> None:
    turn(sessions, asked(CHAT), "large", FIRST)
    before = sessions.look(asked([*CHAT, REPLY, MORE]), OVER)
    for bad in ({"status": 500}, {"ended": "failed"}):
        turn(sessions, asked([*CHAT, REPLY, MORE]), "small", Usage(), **bad)
    assert sessions.look(asked([*CHAT, REPLY, MORE]), OVER) == before


def test_a_fallback_that_answered_holds_it_from_there_on(sessions: Sessions) -> None:
    turn(sessions, asked(CHAT), "large", FIRST)
    more = asked([*CHAT, REPLY, MORE])
    turn(sessions, more, "small", Usage(2200, 0, 50), decided="large", reason="policy")
    held = sessions.look(more, OVER)
    assert held is not None
    assert (held.model, held.anchor) == ("small", "small")  # nobody chose this


def escalated(first: Usage | None) -> tuple[Decision, dict[str, Any]]:
    """A cascade that tried the small model, and the large one answered."""
    decision = Decision("small", "auto", "policy", fallbacks=("large",), tries=1)
    return decision, {"failures": (Failure("small", "check: it refuses", first),)}


def test_a_cascades_rejected_try_is_a_part_of_what_the_conversation_costs(
    sessions: Sessions,
) -> None:
    tried = Usage(2000, 0, 300)
    decision, how = escalated(tried)
    sessions.remember(asked(CHAT), decision, outcome("large", FIRST, **how), OVER)
    more = asked([*CHAT, REPLY, MORE])
    held = sessions.look(more, OVER)
    assert held is not None
    alone, lost = LARGE.price.charged(FIRST), SMALL.price.charged(tried)
    assert (held.stay_usd, held.spent_usd) == pytest.approx((alone, (alone or 0) + (lost or 0)))

    # Later the small model's answer passes, and then one does not: the way back to the large
    # one, its cache gone, is paid for by the conversation and not by what it is measured with.
    turn(sessions, more, "small", Usage(2200, 0, 50))
    back = Usage(2400, None, 50)
    sessions.remember(more, decision, outcome("large", back, **how), OVER)
    after = sessions.look(more, OVER)
    assert after is not None
    assert (after.model, after.anchor) == ("large", "large")
    stayed = LARGE.price.of(2200, 50, 2100) + LARGE.price.of(2400, 50, 2250)
    assert after.stay_usd - held.stay_usd == pytest.approx(stayed)
    paid = [SMALL.price.charged(Usage(2200, 0, 50)), lost, LARGE.price.charged(back)]
    assert after.spent_usd - held.spent_usd == pytest.approx(sum(cost or 0 for cost in paid))


def test_a_try_that_was_never_answered_is_no_choice_to_escalate(sessions: Sessions) -> None:
    turn(sessions, asked(CHAT), "small", FIRST)
    more = asked([*CHAT, REPLY, MORE])
    decision, how = escalated(None)
    sessions.remember(more, decision, outcome("large", Usage(2200, 0, 50), **how), OVER)
    held = sessions.look(more, OVER)
    assert held is not None
    assert held.anchor == "large"
    assert held.spent_usd == pytest.approx(held.stay_usd)


def test_an_upstream_forgets_before_the_router_does(sessions: Sessions, time: list[float]) -> None:
    turn(sessions, asked(CHAT), "large", FIRST)
    more = asked([*CHAT, REPLY, MORE])
    time[0] += 301
    held = sessions.look(more, OVER)
    assert held is not None
    assert held.cached == {}
    time[0] += 3600
    assert sessions.look(more, OVER) is None


def test_what_an_upstream_counts_as_cached_is_what_is_expected_of_it(sessions: Sessions) -> None:
    more = asked([*CHAT, REPLY, MORE])
    turn(sessions, asked(CHAT), "large", FIRST)
    for _ in range(60):
        turn(sessions, more, "large", Usage(2000, 1050, 100))  # half of the 2,100
    held = sessions.look(more, OVER)
    assert held is not None
    assert held.cached["large"] == pytest.approx(1050, rel=0.02)


def test_a_model_whose_price_knows_no_cache_has_none(sessions: Sessions) -> None:
    turn(sessions, asked(CHAT), "small", FIRST)
    held = sessions.look(asked([*CHAT, REPLY, MORE]), OVER)
    assert held is not None
    assert held.cached == {}


def test_a_model_that_a_reload_took_away_holds_nothing(sessions: Sessions) -> None:
    turn(sessions, asked(CHAT), "large", FIRST)
    assert sessions.look(asked([*CHAT, REPLY, MORE]), snapshot([model("small")])) is None


def test_memory_is_bounded(sessions: Sessions) -> None:
    for i in range(1000):
        turn(sessions, asked([{"role": "user", "content": f"hi {i}"}]), "large", FIRST)
    assert len(sessions) == 100
    none = Sessions(0, 60.0)
    turn(none, asked(CHAT), "large", FIRST)
    assert len(none) == 0
    assert none.look(asked([*CHAT, REPLY, MORE]), OVER) is None


def test_the_key_is_as_quick_for_a_prompt_of_megabytes(sessions: Sessions) -> None:
    long = asked([{"role": "user", "content": "x" * 10_000_000}])
    longer = asked([{"role": "user", "content": "x" * 10_000_001}])
    assert key_of(long) != key_of(longer)  # by its length: only its head is looked at


def test_turns_are_counted_by_what_became_of_them() -> None:
    registry = Registry()
    sessions = Sessions(10, 60.0, registry=registry)
    more = asked([*CHAT, REPLY, MORE])
    turn(sessions, asked(CHAT), "large", FIRST)
    turn(sessions, more, "large", FIRST)
    turn(sessions, more, "large", FIRST, reason="session")
    turn(sessions, more, "small", FIRST)
    text = registry.exposition().decode()
    for result in ("begun", "stayed", "held", "switched"):
        assert f'router_session_turns_total{{result="{result}"}} 1.0' in text
    assert "router_sessions 1.0" in text


# -- what the dialects say of a conversation --------------------------------------------

CALLED = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function"}]}
GAVE = {"role": "tool", "tool_call_id": "c", "content": "42"}
USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "42"}]}
NUDGED = {"role": "user", "content": [*RESULT["content"], {"type": "text", "text": "go on"}]}


@pytest.mark.parametrize(
    ("dialect", "messages", "loop", "answered"),
    [
        ("chat", CHAT, False, False),
        ("chat", [*CHAT, REPLY, MORE], False, True),
        ("chat", [*CHAT, CALLED, GAVE], True, True),
        ("chat", [*CHAT, CALLED, GAVE, REPLY, MORE], False, True),
        ("messages", [CHAT[1], USE, RESULT], True, True),
        ("messages", [CHAT[1], USE, NUDGED], True, True),
        ("messages", [CHAT[1], USE, RESULT, REPLY, MORE], False, True),
    ],
)
def test_a_tool_loop_is_seen(
    dialect: str, messages: list[dict[str, Any]], loop: bool, answered: bool
) -> None:
    prompt = asked(messages, dialect, max_tokens=10).prompt
    assert (prompt.in_tool_loop, prompt.answered, prompt.first) == (loop, answered, "hi")


@pytest.mark.parametrize(
    ("items", "loop"),
    [
        ([CHAT[1]], False),
        ([CHAT[1], {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"},
          {"type": "function_call_output", "call_id": "c", "output": "42"}], True),
        ([CHAT[1], {"type": "function_call_output", "call_id": "c", "output": "4"}, MORE], False),
    ],
)  # fmt: skip
def test_a_tool_loop_of_responses_is_seen(items: list[dict[str, Any]], loop: bool) -> None:
    import orjson

    body = orjson.dumps({"model": "auto", "input": items, "instructions": "Be brief."})
    prompt = parse(Received("r", DIALECTS["responses"], head_of.read(()), body)).prompt
    assert (prompt.in_tool_loop, prompt.first) == (loop, "hi")
