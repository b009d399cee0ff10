"""Where spending is kept: a SQLite file, or a Redis or Valkey server that pods share.

A store adds a batch of amounts and says what the totals are now. Only the ledger's
background task calls it (:mod:`sidecar.state.budgets`), never a request. SQLite in
WAL mode is shared by the workers of one sidecar; a batch is one transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from sidecar.config.schema import Redis as RedisSettings
from sidecar.config.snapshot import Secret
from sidecar.errors import StateError

log = logging.getLogger("sidecar.state.spending")


class Key(NamedTuple):
    """Whose spending, under which budget, in which day or month."""

    budget: str
    period: str  # 2026-11-22, or 2026-11
    subject: str


class Amount(NamedTuple):
    usd: float = 0.0
    tokens: int = 0

    def plus(self, other: Amount) -> Amount:
        return Amount(self.usd + other.usd, self.tokens + other.tokens)


@dataclass(frozen=True, slots=True)
class Batch:
    """What was spent since the last batch. Sent again under the same name if need be."""

    name: str
    amounts: Mapping[Key, Amount]
    # the last totals that were read: a store that lost its data takes them up again
    floors: Mapping[Key, Amount]


class Store(Protocol):
    """Where totals are kept. Any exception means that it could not be reached."""

    async def load(self, periods: Collection[str]) -> dict[Key, Amount]:
        """Every total of these periods."""
        ...

    async def add(self, batch: Batch, keys: Collection[Key]) -> dict[Key, Amount]:
        """Add a batch once, whatever happens, and give the totals of ``keys``."""
        ...

    async def close(self) -> None: ...


class SqliteStore:
    """A file. :class:`StateError` where it cannot be opened; a corrupt one is kept aside."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._last = ""
        try:
            self._connection = self._open()
        except sqlite3.OperationalError as exc:
            raise StateError(
                f"Cannot keep spending in {file}: {exc}. Give spending.file a place that can be "
                "written, or spending.redis a server."
            ) from exc
        except sqlite3.DatabaseError as exc:
            aside = file.with_name(f"{file.name}.unusable-{int(time.time())}")
            for tail in ("-wal", "-shm"):
                file.with_name(file.name + tail).unlink(missing_ok=True)
            file.replace(aside)
            log.warning(
                "%s is corrupt (%s): it is kept as %s, and spending is counted from zero",
                file, exc, aside.name,
            )  # fmt: skip
            self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._file, timeout=5.0, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS spending (period TEXT, budget TEXT, subject TEXT, "
                "usd REAL NOT NULL, tokens INTEGER NOT NULL, "
                "PRIMARY KEY (period, budget, subject)) WITHOUT ROWID"
            )
            (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if sound != "ok":
                raise sqlite3.DatabaseError(sound)
        except BaseException:
            connection.close()
            raise
        return connection

    async def load(self, periods: Collection[str]) -> dict[Key, Amount]:
        return await asyncio.to_thread(self._load, periods)

    def _load(self, periods: Collection[str]) -> dict[Key, Amount]:
        found = {}
        for period in periods:
            rows = self._connection.execute(
                "SELECT budget, subject, usd, tokens FROM spending WHERE period = ?", (period,)
            )
            for budget, subject, usd, tokens in rows:
                found[Key(budget, period, subject)] = Amount(usd, tokens)
        return found

    async def add(self, batch: Batch, keys: Collection[Key]) -> dict[Key, Amount]:
        return await asyncio.to_thread(self._add, batch, keys)

    def _add(self, batch: Batch, keys: Collection[Key]) -> dict[Key, Amount]:
        run = self._connection.execute
        if batch.amounts and batch.name != self._last:
            run("BEGIN IMMEDIATE")
            try:
                for key, amount in batch.amounts.items():
                    floor = batch.floors.get(key, Amount())
                    run(
                        "INSERT INTO spending VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
                        "SET usd = max(usd, ?) + ?, tokens = max(tokens, ?) + ?",
                        (
                            key.period, key.budget, key.subject, *floor.plus(amount),
                            floor.usd, amount.usd, floor.tokens, amount.tokens,
                        ),
                    )  # fmt: skip
                run("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    run("ROLLBACK")
                raise
            self._last = batch.name
        found = {}
        for key in keys:
            row = run(
                "SELECT usd, tokens FROM spending WHERE period = ? AND budget = ? AND subject = ?",
                (key.period, key.budget, key.subject),
            ).fetchone()
            if row is not None:
                found[key] = Amount(*row)
        return found

    async def close(self) -> None:
        self._connection.close()


# A batch counts once: its name is remembered for a day. A total that is lower than a
# sidecar once read it (the server lost its data) goes up to that first.
_ADD: Final = """
if redis.call('SET', KEYS[1], 1, 'NX', 'EX', 86400) then
  for i = 1, #ARGV, 6 do
    local hash, field, usd, tokens = ARGV[i], ARGV[i+1], ARGV[i+2], ARGV[i+3]
    local key = KEYS[tonumber(hash)]
    local had = redis.call('HGET', key, field .. ':usd')
    if tonumber(had or 0) < tonumber(ARGV[i+4]) then
      redis.call('HSET', key, field .. ':usd', ARGV[i+4], field .. ':tokens', ARGV[i+5])
    end
    redis.call('HINCRBYFLOAT', key, field .. ':usd', usd)
    redis.call('HINCRBY', key, field .. ':tokens', tokens)
    redis.call('EXPIRE', key, 3456000)
  end
end
return 1
"""


class RedisStore:
    """A server. Reached when it is needed: one that is gone costs a batch its time-out."""

    def __init__(self, settings: RedisSettings, password: Secret | None) -> None:
        try:
            from redis import asyncio as redis  # noqa: PLC0415
        except ImportError as exc:
            raise StateError("spending.redis needs: pip install 'pointsman[redis]'") from exc
        self._prefix = f"{{{settings.prefix}}}"  # one slot of a cluster
        self._client: Any = redis.Redis.from_url(
            settings.url,
            username=settings.username,
            password=password.reveal() if password else None,
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            decode_responses=True,
        )

    def _hash(self, period: str) -> str:
        return f"{self._prefix}:spending:{period}"

    async def load(self, periods: Collection[str]) -> dict[Key, Amount]:
        found: dict[Key, Amount] = {}
        for period in periods:
            said = await self._client.hgetall(self._hash(period))
            for field in {name.rpartition(":")[0] for name in said}:
                budget, _, subject = field.partition("\x1f")
                found[Key(budget, period, subject)] = Amount(
                    float(said.get(f"{field}:usd", 0)), int(said.get(f"{field}:tokens", 0))
                )
        return found

    async def add(self, batch: Batch, keys: Collection[Key]) -> dict[Key, Amount]:
        if batch.amounts:
            periods = sorted({key.period for key in batch.amounts})
            names = [f"{self._prefix}:batch:{batch.name}", *map(self._hash, periods)]
            arguments: list[str | float | int] = []
            for key, amount in batch.amounts.items():
                floor = batch.floors.get(key, Amount())
                place = periods.index(key.period) + 2
                arguments += [place, _field(key), repr(amount.usd), amount.tokens]
                arguments += [repr(floor.usd), floor.tokens]
            await self._client.eval(_ADD, len(names), *names, *arguments)
        by_period: dict[str, list[Key]] = {}
        for key in keys:
            by_period.setdefault(key.period, []).append(key)
        found: dict[Key, Amount] = {}
        for period, wanted in by_period.items():
            fields = [f"{_field(key)}:{part}" for key in wanted for part in ("usd", "tokens")]
            said = await self._client.hmget(self._hash(period), fields)
            for key, usd, tokens in zip(wanted, said[::2], said[1::2], strict=True):
                if usd is not None:
                    found[key] = Amount(float(usd), int(tokens or 0))
        return found

    async def close(self) -> None:
        await self._client.aclose()


def _field(key: Key) -> str:
    return f"{key.budget}\x1f{key.subject}"
