"""What answers teach: a model that slows down, fails, or writes at length is known for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.decide.observed import Observed
from sidecar.state.observed import FORGET_S, HALF_LIFE_S, NEWS_S, Observations
from sidecar.types import Decision, Failure, Outcome, Usage
from tests.support.builders import call, reading

NAMES = {"cheap", "dear"}
CALL = call()
STREAM = replace(CALL, stream=True)
DECISION = Decision("cheap", "auto", "policy", reading=reading(task="code"))


def answer(
    model: str = "cheap",
    *,
    tokens: int | None = 100,
    first_ms: float | None = 500.0,
    total_ms: float = 500.0,
    ended: str = "complete",
    status: int = 200,
    failures: tuple[Failure, ...] = (),
) -> Outcome:
    usage = Usage(input_tokens=10, output_tokens=tokens)
    return Outcome(
        model, "policy", status, 1 + len(failures), 10, usage, ended, first_ms, total_ms, failures
    )


def told(*outcomes: Outcome, of: Observations | None = None, stream: bool = False) -> Observations:
    kept = of or Observations()
    for outcome in outcomes:
        kept.remember(STREAM if stream else CALL, DECISION, outcome, NAMES, 1000.0)
    return kept


def at(kept: Observations, now: float = 1000.0, model: str = "cheap") -> Observed:
    return kept.seen(now)[model]


def test_nothing_is_known_of_a_model_that_has_not_answered() -> None:
    assert dict(Observations().seen(1000.0)) == {}
    assert "dear" not in told(answer("cheap")).seen(1000.0)


def test_a_model_that_slows_down_is_expected_to_be_slow() -> None:
    kept = told(*[answer(total_ms=500)] * 50)
    assert at(kept, 1000.0, "cheap").latency_s(100) == pytest.approx(0.5)
    told(*[answer(first_ms=5000, total_ms=5000)] * 30, of=kept)
    slow = at(kept, 1000.0 + NEWS_S).latency_s(100)
    assert slow is not None
    assert slow > 4.0
    later = at(kept, 1000.0 + 10 * HALF_LIFE_S, "cheap").latency_s(100)
    assert later is not None
    assert later < 3.0  # old news fades to what is usual
    assert at(kept, 1001.0 + FORGET_S, "cheap").latency_s(100) is None


def test_a_stream_tells_the_time_to_the_first_token_from_that_between_tokens() -> None:
    kept = told(*[answer(first_ms=200, total_ms=2200, tokens=100)] * 3, stream=True)
    seen = at(kept)
    assert seen.latency_s(0) == pytest.approx(0.2)
    assert seen.latency_s(50) == pytest.approx(0.2 + 50 * 0.02)
    # an answer that came at once says the same of its model
    told(answer(first_ms=2200, total_ms=2200, tokens=100), of=kept)
    assert at(kept, 1000.0 + NEWS_S).latency_s(0) == pytest.approx(0.2)


def test_errors_are_counted_where_they_happened_and_fade() -> None:
    failed = answer("dear", failures=(Failure("cheap", "503"),))
    kept = told(*[failed] * 40)
    assert at(kept, 1000.0, "cheap").reliability < 0.3
    assert at(kept, 1000.0, "dear").reliability == 1.0
    assert at(kept, 1000.0 + 10 * HALF_LIFE_S, "cheap").reliability > 0.99
    assert at(kept, 1000.0, "dear").first_s is None  # the failures' time was in it


def test_one_error_does_not_turn_a_route_around() -> None:
    kept = told(*[answer()] * 20, answer(ended="upstream-broken"))
    assert 0.9 < at(kept, 1000.0, "cheap").reliability < 1.0


@pytest.mark.parametrize("ended", ["hang-up", "refused"])
def test_what_was_not_the_models_fault_is_not_held_against_it(ended: str) -> None:
    assert dict(told(answer(ended=ended)).seen(1000.0)) == {}
    assert dict(told(answer(status=400)).seen(1000.0)) == {}


def length(kept: Observations, model: str, now: float = 1000.0) -> float:
    return at(kept, now, model).length("code", kept.lengths(now)["code"])


def test_the_length_is_learned_by_task_from_what_is_usual() -> None:
    kept = told(answer(tokens=1000))
    assert 400 < length(kept, "cheap") < 600  # one long answer is not yet a habit
    told(*[answer(tokens=1000)] * 300, of=kept)
    assert length(kept, "cheap", 1000.0 + NEWS_S) > 950
    assert at(kept).length("qa", 123.0) == 123.0
    # what is usual of all is what another model is taken to do until it shows otherwise
    told(answer("dear", tokens=10), of=kept)
    assert length(kept, "dear", 1000.0 + NEWS_S) > 800
    told(*[answer("dear", tokens=10)] * 100, of=kept)
    assert length(kept, "dear", 1000.0 + 2 * NEWS_S) < 100


def test_of_several_answers_at_once_the_length_of_one_is_learned() -> None:
    kept, single = Observations(), told(*[answer(tokens=100)] * 100)
    for _ in range(100):
        several = replace(CALL, choices=5)
        kept.remember(several, DECISION, answer(tokens=500), NAMES, 1000.0)
    assert length(kept, "cheap") == length(single, "cheap")


def test_an_answer_is_known_within_a_moment_and_an_error_at_once() -> None:
    kept = told(answer(total_ms=500))
    assert at(kept).latency_s(0) == pytest.approx(0.5)
    told(answer(total_ms=1500, first_ms=1500), of=kept)
    assert at(kept).latency_s(0) == pytest.approx(0.5)
    assert at(kept, 1000.0 + NEWS_S).latency_s(0) == pytest.approx(0.6, abs=0.01)
    told(answer(ended="upstream-broken"), of=kept)
    assert at(kept, 1000.0 + NEWS_S).reliability < 1.0


def test_unknown_usage_teaches_no_length() -> None:
    assert dict(told(answer(tokens=None)).lengths(1000.0)) == {}


def test_a_decision_keeps_what_it_began_with_and_a_model_that_is_gone_is_forgotten() -> None:
    kept = told(answer())
    before = kept.seen(1000.0)
    told(answer(total_ms=9000), of=kept)
    assert before["cheap"].latency_s(0) == pytest.approx(0.5)
    kept.remember(CALL, DECISION, answer("dear"), {"dear"}, 1000.0)
    assert set(kept.seen(1000.0)) == {"dear"}
