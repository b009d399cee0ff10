"""What was spent outlives workers, restarts and a store that is gone, and nothing waits for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.config.schema import Redis
from sidecar.errors import StateError
from sidecar.state.spending import Amount, Batch, Key, RedisStore, SqliteStore
from tests.support.ledgers import DECIDED, Nowhere, answer, by, ledger, over, verdicts
from tests.support.redis_server import RedisServer, free_server

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
