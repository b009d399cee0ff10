"""Ledgers of budgets over stores that are there, and one that is not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final

from sidecar.config.schema import Budget
from sidecar.config.snapshot import Snapshot
from sidecar.observe.metrics import Registry
from sidecar.state.budgets import Ledger
from sidecar.state.spending import Amount, Batch, Key, Store
from sidecar.types import Call, Decision, Hints, Outcome, Usage
from tests.support.builders import call, model, snapshot

NOON: Final = 1_795_348_800.0  # 2026-11-22 12:00 UTC


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
