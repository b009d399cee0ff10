"""What is remembered of answers that later requests may name."""

from __future__ import annotations

from dataclasses import replace

from sidecar.observe.metrics import Registry
from sidecar.state.places import Places
from sidecar.types import Call, Decision, Hints, Outcome, Passed, Place, Usage
from tests.support.builders import call

WHERE = "http://127.0.0.1:1/v1"
KEPT = Place("small", "local", WHERE, tokens=18)


def answered(answer_id: str, usage: Usage = Usage(11, None, 7)) -> Outcome:  # noqa: B008
    return Outcome(
        "small", "policy", 200, 1, 9, usage, "complete", 5.0, 9.0,
        answer_id=answer_id, upstream="local", base_url=WHERE,
    )  # fmt: skip


def going_on(answer_id: str, credentials: bytes = b"", tenant: str | None = None) -> Call:
    passed = Passed(credentials=credentials)
    return replace(call(), continues=answer_id, passed=passed, hints=Hints(tenant=tenant))


DECIDED = Decision("small", "auto", "policy")


def test_an_answer_is_found_by_its_id_and_by_no_other() -> None:
    places = Places(10, 60.0)
    places.remember(call(), DECIDED, answered("resp_1"))
    assert places.look(going_on("resp_1")) == KEPT
    assert places.look(going_on("resp_2")) is None
    assert places.look(call()) is None


def test_another_callers_answer_is_unknown() -> None:
    places = Places(10, 60.0)
    places.remember(call(), DECIDED, answered("resp_1"))
    assert places.look(going_on("resp_1", credentials=b"Authorization: Bearer b\r\n")) is None
    assert places.look(going_on("resp_1", tenant="b")) is None


def test_it_is_bounded_and_ages() -> None:
    now = [0.0]
    places = Places(2, 60.0, now=lambda: now[0])
    for i in range(5):
        places.remember(call(), DECIDED, answered(f"resp_{i}"))
    assert len(places) == 2
    assert places.look(going_on("resp_2")) is None
    assert places.look(going_on("resp_4")) == KEPT
    now[0] = 61.0
    assert places.look(going_on("resp_4")) is None
    off = Places(0, 60.0)
    off.remember(call(), DECIDED, answered("resp_1"))
    assert off.look(going_on("resp_1")) is None


def test_uncounted_tokens_are_bounded_from_what_was_asked() -> None:
    places = Places(10, 60.0)
    asked = replace(going_on("resp_0"), input_tokens=30, max_output_tokens=50)
    decided = replace(DECIDED, at=replace(KEPT, tokens=200))
    places.remember(asked, decided, answered("resp_1", Usage()))
    assert places.look(going_on("resp_1")) == replace(KEPT, tokens=280)


def test_requests_that_go_on_are_counted_by_where_they_went() -> None:
    registry = Registry()
    places = Places(10, 60.0, registry=registry)
    places.remember(going_on("resp_1"), DECIDED, answered("resp_2"))
    places.remember(going_on("resp_2"), replace(DECIDED, at=KEPT), answered("resp_3"))
    places.remember(call(), DECIDED, answered("resp_4"))
    said = registry.exposition().decode()
    assert 'router_continued_answers_total{result="unpinned"} 1.0' in said
    assert 'router_continued_answers_total{result="pinned"} 1.0' in said
