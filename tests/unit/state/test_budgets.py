"""Budgets bite where they should: whose spending is whose, what it costs, and when it is over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.config.snapshot import Secret
from sidecar.state.budgets import OTHERS, fingerprints
from sidecar.types import Call, Failure, Passed, Usage
from tests.support.ledgers import DECIDED, NOON, Nowhere, answer, by, ledger, over, verdicts

# -- whose spending is whose -----------------------------------------------------------


def test_each_tenant_has_a_budget_of_its_own_and_only_who_is_named_has_one() -> None:
    snap = over(
        each={"per": "tenant", "period": "day", "usd": 0.02},
        acme={"per": "tenant", "only": "acme", "period": "day", "tokens": 900, "at_limit": "warn"},
        everyone={"per": "all", "period": "month", "usd": 0.03, "at_limit": "refuse"},
    )
    book = ledger(Nowhere(), snap)
    book.charge(by("acme"), DECIDED, answer(), snap)
    assert verdicts(book, snap, by("acme")) == [("acme", "warn")]
    book.charge(by("acme"), DECIDED, answer(), snap)
    assert verdicts(book, snap, by("acme")) == [("each", "cheapest"), ("acme", "warn")]
    assert verdicts(book, snap, by("globex")) == []
    book.charge(by("globex"), DECIDED, answer(), snap)
    assert verdicts(book, snap, by("globex")) == [("everyone", "refuse")]
    assert verdicts(book, snap, by(None)) == [("everyone", "refuse")]


def test_a_key_is_counted_by_its_fingerprint_and_never_kept() -> None:
    snap = over(keys={"per": "key", "period": "day", "usd": 0.01})
    book = ledger(Nowhere(), snap)

    def sends(line: bytes) -> Call:
        return by(passed=Passed(credentials=line + b"\r\n"))

    one = sends(b"Authorization: Bearer sk-one")
    book.charge(one, DECIDED, answer(), snap)
    assert verdicts(book, snap, one) == [("keys", "cheapest")]
    assert verdicts(book, snap, sends(b"x-api-key: sk-one")) == [("keys", "cheapest")]
    assert verdicts(book, snap, sends(b"authorization: Bearer sk-two")) == []
    (mark,) = fingerprints(one)
    assert len(mark) == 12
    assert "sk-one" not in str(book.table())


@pytest.mark.parametrize(
    "sent",
    [
        b"Authorization: bearer sk-one\r\n",
        b"authorization:  BEARER   sk-one \r\n",
        b"x-api-key: made-up\r\nAuthorization: Bearer sk-one\r\n",
        b"Authorization: Bearer made-up\r\napi-key: sk-one\r\n",
    ],
)
def test_a_key_is_found_however_it_is_written_and_beside_whichever_other(sent: bytes) -> None:
    snap = over(keys={"per": "key", "period": "day", "usd": 0.01})
    book = ledger(Nowhere(), snap)
    plain = by(passed=Passed(credentials=b"Authorization: Bearer sk-one\r\n"))
    book.charge(plain, DECIDED, answer(), snap)
    assert verdicts(book, snap, by(passed=Passed(credentials=sent))) == [("keys", "cheapest")]
    other = ledger(Nowhere(), snap)
    other.charge(by(passed=Passed(credentials=sent)), DECIDED, answer(), snap)
    assert verdicts(other, snap, plain) == [("keys", "cheapest")]


def test_the_ports_own_token_is_nobodys_budget_where_a_key_is_beside_it() -> None:
    snap = replace(
        over(keys={"per": "key", "period": "day", "usd": 0.01}), token=Secret("let-me-in")
    )
    book = ledger(Nowhere(), snap)
    door = b"x-api-key: let-me-in\r\n"
    first, second = (
        by(passed=Passed(credentials=door + b"Authorization: Bearer " + key + b"\r\n"))
        for key in (b"sk-one", b"sk-two")
    )
    book.charge(first, DECIDED, answer(), snap)
    assert verdicts(book, snap, first) == [("keys", "cheapest")]
    assert verdicts(book, snap, second) == []
    assert fingerprints(by(passed=Passed(credentials=door)), snap.token) != ("-",)


def test_what_the_upstream_did_not_count_is_estimated_and_no_answer_costs_nothing() -> None:
    snap = over(all={"per": "all", "period": "day", "usd": 1.0})
    book = ledger(Nowhere(), snap)
    for status in (429, 499, 502):
        book.charge(by(), DECIDED, answer(None, status=status), snap)
    assert book.table()[0]["subjects"] == []
    book.charge(by(), DECIDED, answer(None), snap)
    (row,) = book.table()[0]["subjects"]
    assert row["usd"] > 0
    assert row["tokens"] > 0


def test_each_of_several_answers_is_estimated() -> None:
    snap = over(all={"per": "all", "period": "day", "usd": 1.0})
    spent = []
    for choices in (1, 3):
        book = ledger(Nowhere(), snap)
        asked = by(input_tokens=400, max_output_tokens=100, choices=choices)
        book.charge(asked, DECIDED, answer(None), snap)
        spent.append(book.table()[0]["subjects"][0])
    assert [row["tokens"] for row in spent] == [500, 700]
    assert [row["usd"] for row in spent] == pytest.approx([0.004, 0.006])


def test_an_answer_that_was_checked_and_not_passed_on_is_paid_for_too() -> None:
    snap = over(all={"per": "all", "period": "day", "usd": 1.0})
    book = ledger(Nowhere(), snap)
    tried = Failure("small", "it refused", Usage(input_tokens=500, output_tokens=500))
    silent = Failure("small", "it was not there")
    book.charge(by(), DECIDED, replace(answer(name="large"), failures=(tried, silent)), snap)
    (row,) = book.table()[0]["subjects"]
    assert row["usd"] == pytest.approx(0.01 + 0.10)
    assert row["tokens"] == 2000


def test_a_hedge_that_was_overtaken_is_charged_for_its_question() -> None:
    """Two were asked at once; the slower one was dropped before it said what it had counted."""
    snap = over(all={"per": "all", "period": "day", "usd": 1.0})
    book = ledger(Nowhere(), snap)
    dropped = Failure("small", "overtaken by a hedge", overtaken=True)
    asked = by(input_tokens=4000)
    book.charge(asked, DECIDED, replace(answer(), failures=(dropped,)), snap)
    book.charge(asked, DECIDED, answer(), snap)
    (row,) = book.table()[0]["subjects"]
    read = 3000 * snap.models["small"].price.input / 1e6
    assert row["usd"] == pytest.approx(2 * 0.01 + read)
    assert row["tokens"] == 2 * 1000 + 4000


def test_a_caller_who_leaves_before_the_first_content_is_charged_for_the_question() -> None:
    """Else whoever hangs up in time has every question read and no budget spent."""
    snap = over(all={"per": "all", "period": "day", "usd": 1.0})
    book = ledger(Nowhere(), snap)
    left = replace(answer(None, status=499), ended="hang-up", first_byte_ms=None)
    book.charge(by(input_tokens=4000), DECIDED, left, snap)
    (row,) = book.table()[0]["subjects"]
    assert row["usd"] == pytest.approx(3000 * snap.models["small"].price.input / 1e6)
    assert row["tokens"] == 4000


def test_a_new_day_is_a_new_budget_and_a_month_goes_on() -> None:
    clock = [NOON]
    snap = over(
        day={"per": "all", "period": "day", "usd": 0.01},
        month={"per": "all", "period": "month", "usd": 0.01},
    )
    book = ledger(Nowhere(), snap, clock)
    book.charge(by(), DECIDED, answer(), snap)
    (day, month) = book.exhausted(by(), snap)
    assert day.renews_s == 43_200
    assert month.renews_s == 43_200 + 8 * 86_400  # to the first of December
    clock[0] += 43_200
    assert verdicts(book, snap, by()) == [("month", "cheapest")]
    clock[0] += 8 * 86_400
    assert verdicts(book, snap, by()) == []


async def test_whoever_names_tenants_without_end_shares_one_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sidecar.state.budgets._MOST_SUBJECTS", 10)
    snap = over(each={"per": "tenant", "period": "day", "usd": 0.05})
    book = ledger(Nowhere(), snap)
    for number in range(50):
        book.charge(by(f"tenant{number}"), DECIDED, answer(), snap)
    rows = {row["subject"]: row["usd"] for row in book.table()[0]["subjects"]}
    assert len(rows) == 11
    assert rows[OTHERS] == pytest.approx(0.4)
    assert verdicts(book, snap, by("another")) == [("each", "cheapest")]
    assert verdicts(book, snap, by("tenant3")) == []
