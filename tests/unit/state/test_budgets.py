"""Budgets bite where they should, over workers and restarts, and nothing waits for their store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.schema import Budget, Redis
from sidecar.config.snapshot import Secret, Snapshot
from sidecar.errors import StateError
from sidecar.observe.metrics import Registry
from sidecar.state.budgets import OTHERS, Ledger, fingerprints
from sidecar.state.spending import Amount, Batch, Key, RedisStore, SqliteStore, Store
from sidecar.types import Call, Decision, Failure, Hints, Outcome, Passed, Usage
from tests.support.builders import call, model, snapshot
from tests.support.redis_server import RedisServer, free_server

NOON = 1_795_348_800.0  # 2026-11-22 12:00 UTC


def over(**budgets: dict[str, Any]) -> Snapshot:
    made = snapshot([model("small", 10.0), model("large", 100.0)])
    parsed = {name: Budget.model_validate(fields) for name, fields in budgets.items()}
    return replace(made, config=made.config.model_copy(update={"budgets": parsed}))


def ledger(store: Store, snap: Snapshot, clock: list[float] | None = None) -> Ledger:
    now = clock or [NOON]
    return Ledger(store, Registry(), 60.0, lambda: snap.config.budgets, now=lambda: now[0])


def answer(tokens: int | None = 500, name: str = "small", status: int = 200) -> Outcome:
    """At 10 USD a million tokens, 1,000 of both kinds cost 0.01 USD."""
    usage = Usage(input_tokens=tokens, output_tokens=tokens)
    return Outcome(name, "policy", status, 1, 10, usage, "complete", 1.0, 2.0)


def by(tenant: str | None = None, **fields: Any) -> Call:
    return replace(call(hints=Hints(tenant=tenant)), **fields)


DECIDED = Decision("small", "auto", "policy")


class Nowhere:
    """A store that is gone until it is not."""

    def __init__(self) -> None:
        self.gone = True
        self.batches: list[Batch] = []

    async def load(self, periods: Collection[str]) -> dict[Key, Amount]:
        if self.gone:
            raise ConnectionError("nobody there")
        return {}

    async def add(self, batch: Batch, keys: Collection[Key]) -> dict[Key, Amount]:
        if self.gone:
            raise ConnectionError("nobody there")
        self.batches.append(batch)
        return {}

    async def close(self) -> None: ...


def verdicts(book: Ledger, snap: Snapshot, who: Call) -> list[tuple[str, str]]:
    return [(e.budget, e.at_limit) for e in book.exhausted(who, snap)]


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


# -- the file --------------------------------------------------------------------------


async def test_workers_of_one_file_count_together_and_a_restart_forgets_nothing(
    tmp_path: Path,
) -> None:
    snap = over(all={"per": "all", "period": "day", "usd": 0.05})
    books = [ledger(SqliteStore(tmp_path / "s.sqlite"), snap) for _ in range(3)]
    for book in books:
        await book.start()
    for _ in range(2):
        for book in books:
            book.charge(by(), DECIDED, answer(), snap)
    assert [verdicts(book, snap, by()) for book in books] == [[], [], []]  # 0.02 each
    await asyncio.gather(*(book.sync() for book in books))
    await asyncio.gather(*(book.sync() for book in books))
    assert all(verdicts(book, snap, by()) for book in books)  # 0.06 together
    for book in books:
        await book.close()
    again = ledger(SqliteStore(tmp_path / "s.sqlite"), snap)
    await again.start()
    assert again.table()[0]["subjects"][0]["usd"] == pytest.approx(0.06)
    await again.close()


async def test_a_corrupt_file_is_kept_aside_and_spending_starts_from_zero(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "s.sqlite"
    file.write_bytes(b"this was a database once" * 100)
    store = SqliteStore(file)
    assert "is corrupt" in caplog.text
    (aside,) = tmp_path.glob("*.unusable-*")
    assert aside.read_bytes().startswith(b"this was")
    key = Key("b", "2026-11-22", "x")
    assert await store.add(Batch("1", {key: Amount(1.0, 2)}, {}), [key]) == {key: Amount(1.0, 2)}
    await store.close()


def test_a_file_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"spending\.file"):
        SqliteStore(tmp_path / "nowhere" / "s.sqlite")


async def test_a_file_that_is_locked_costs_no_request_and_loses_nothing(tmp_path: Path) -> None:
    file = tmp_path / "s.sqlite"
    store = SqliteStore(file)
    store._connection.execute("PRAGMA busy_timeout=50")
    snap = over(all={"per": "all", "period": "day", "usd": 0.02})
    book = ledger(store, snap)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    book.charge(by(), DECIDED, answer(), snap)
    await book.sync()
    assert not book.reached
    book.charge(by(), DECIDED, answer(), snap)
    assert verdicts(book, snap, by()) == [("all", "cheapest")]  # both are known here
    other.execute("ROLLBACK")
    other.close()
    await book.sync()
    await book.sync()
    assert book.reached
    assert book.table()[0]["subjects"][0]["usd"] == pytest.approx(0.02)
    await book.close()


# -- a store that is gone ----------------------------------------------------------------


async def test_spending_is_counted_here_while_the_store_is_gone_and_sent_once_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, snap = Nowhere(), over(all={"per": "all", "period": "day", "usd": 0.02})
    book = ledger(store, snap)
    await book.start()
    for _ in range(3):
        book.charge(by(), DECIDED, answer(), snap)
        await book.sync()
    assert verdicts(book, snap, by()) == [("all", "cheapest")]
    assert caplog.text.count("cannot be reached") == 1  # not a line a second
    store.gone = False
    await book.sync()
    await book.sync()
    sent = [amount.usd for batch in store.batches for amount in batch.amounts.values()]
    assert sum(sent) == pytest.approx(0.03)
    await book.close()
    assert "lost" not in caplog.text


async def test_what_could_not_be_written_in_the_end_is_declared_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    snap = over(all={"per": "all", "period": "day", "usd": 1.0})
    book = ledger(Nowhere(), snap)
    await book.start()
    book.charge(by(), DECIDED, answer(), snap)
    await book.close()
    assert "0.010000 USD of spending could not be written and are lost" in caplog.text


# -- a real server -------------------------------------------------------------------------


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    one = free_server()
    await one.start()
    yield one
    await one.kill()


async def test_pods_that_share_a_server_count_together(server: RedisServer) -> None:
    snap = over(each={"per": "tenant", "period": "day", "usd": 0.03, "tokens": 10_000})
    books = [ledger(RedisStore(Redis(url=server.url), None), snap) for _ in range(2)]
    for book in books:
        await book.start()
        for _ in range(2):
            book.charge(by("acme"), DECIDED, answer(), snap)
        book.charge(by("globex"), DECIDED, answer(), snap)
    for book in (*books, *books):
        await book.sync()
    for book in books:
        assert verdicts(book, snap, by("acme")) == [("each", "cheapest")]
        assert verdicts(book, snap, by("globex")) == []
        rows = {row["subject"]: row for row in book.table()[0]["subjects"]}
        assert rows["acme"]["usd"] == pytest.approx(0.04)
        assert rows["acme"]["tokens"] == 4000
    late = ledger(RedisStore(Redis(url=server.url), None), snap)
    await late.start()
    assert verdicts(late, snap, by("acme")) == [("each", "cheapest")]
    for book in (*books, late):
        await book.close()


async def test_a_batch_that_is_sent_twice_counts_once(server: RedisServer) -> None:
    store = RedisStore(Redis(url=server.url), None)
    key = Key("b", "2026-11-22", "x:y")
    batch = Batch("same", {key: Amount(0.5, 7)}, {})
    for _ in range(3):
        assert await store.add(batch, [key]) == {key: Amount(0.5, 7)}
    assert await store.load(["2026-11-22"]) == {key: Amount(0.5, 7)}
    await store.close()


async def test_a_server_killed_in_mid_run_stops_no_traffic_and_loses_no_spending(
    server: RedisServer,
) -> None:
    snap = over(all={"per": "all", "period": "day", "usd": 0.05})
    settings = Redis(url=server.url, timeout_s=0.5)
    books = [ledger(RedisStore(settings, None), snap) for _ in range(2)]
    for book in books:
        await book.start()
        book.charge(by(), DECIDED, answer(), snap)
    for book in (*books, *books):
        await book.sync()
    await server.kill()
    for book in books:
        book.charge(by(), DECIDED, answer(), snap)  # counted here, whatever is there
        await book.sync()
        assert not book.reached
    await server.start()  # with nothing in it: it had no file
    for book in (*books, *books):
        book.charge(by(), DECIDED, answer(), snap)
        await book.sync()
    for book in (*books, *books, *books):
        await book.sync()
    for book in books:
        assert book.reached
        (row,) = book.table()[0]["subjects"]
        assert row["usd"] == pytest.approx(0.08)  # eight answers, before and after
        assert verdicts(book, snap, by()) == [("all", "cheapest")]
        await book.close()


async def test_a_server_that_comes_back_empty_is_told_of_those_who_spend_no_more(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Who is refused adds nothing, and must not be let in again by a sidecar that starts now."""
    snap = over(each={"per": "tenant", "period": "day", "usd": 0.01, "at_limit": "refuse"})
    settings = Redis(url=server.url, timeout_s=0.5)
    old = ledger(RedisStore(settings, None), snap)
    await old.start()
    old.charge(by("acme"), DECIDED, answer(), snap)
    await old.sync()
    await server.kill()
    await old.sync()
    await server.start()
    for _ in range(3):
        await old.sync()
    late = ledger(RedisStore(settings, None), snap)
    await late.start()
    assert verdicts(late, snap, by("acme")) == [("each", "refuse")]
    for book in (old, late):
        await book.sync()
        (row,) = book.table()[0]["subjects"]
        assert row["usd"] == pytest.approx(0.01)
        assert row["tokens"] == 1000
        await book.close()
    assert "are lost" not in caplog.text


async def test_a_file_that_lost_what_it_had_is_told_again_too(tmp_path: Path) -> None:
    snap = over(all={"per": "all", "period": "day", "usd": 0.01})
    book = ledger(SqliteStore(tmp_path / "spending.sqlite"), snap)
    await book.start()
    book.charge(by(), DECIDED, answer(), snap)
    await book.sync()
    with sqlite3.connect(tmp_path / "spending.sqlite") as other:
        other.execute("DELETE FROM spending")
    other.close()
    book.charge(by(), DECIDED, answer(), snap)
    for _ in range(3):
        await book.sync()
    late = ledger(SqliteStore(tmp_path / "spending.sqlite"), snap)
    await late.start()
    for each in (book, late):
        (row,) = each.table()[0]["subjects"]
        assert row["usd"] == pytest.approx(0.02)
        await each.close()
