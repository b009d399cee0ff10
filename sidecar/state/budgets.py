"""What was spent, by budget: a view in memory, kept in step with a store beside the requests.

A request asks the view and adds to it; nothing of it waits. A task sends what was
added, at most every ``spending.every_s``, and reads back what others spent. So several
workers or pods overspend a limit by what they spend in that time, and by what was in
flight when it was reached.

While the store cannot be reached traffic flows, spending is counted here, and what is
known of the others stands still; once it is back, all of it is sent. What could not be
sent when the process ends is lost, and the log says how much.
"""

from __future__ import annotations

import asyncio
import calendar
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sidecar.config.schema import Budget
from sidecar.config.snapshot import Secret, Snapshot
from sidecar.decide import price
from sidecar.decide.view import EMPTY, Exhausted
from sidecar.observe.metrics import Registry
from sidecar.state.spending import Amount, Batch, Key, RedisStore, SqliteStore, Store
from sidecar.types import Call, Decision, Outcome, Usage

log = logging.getLogger("sidecar.state.budgets")

_MOST_SUBJECTS: Final = 10_000  # whoever names more tenants than this shares one budget
OTHERS: Final = "(others)"
NOBODY: Final = "-"
_NONE: Final = Amount()


class Ledger:
    """Spending in the current day and month. One thread's: the event loop's."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        every_s: float,
        budgets: Callable[[], Mapping[str, Budget]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._every_s = every_s
        self._budgets = budgets  # as they are configured now
        self._now = now
        self._totals: dict[Key, Amount] = {}  # as the store last said
        self._pending: dict[Key, Amount] = {}  # not sent yet
        self._sending: Batch | None = None
        self._periods: tuple[int, dict[str, str]] = (-1, {})
        self._warned: set[Key] = set()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.reached = True
        self._limited = registry.counter(
            "router_budget_exhausted",
            "Requests that came when a budget was used up, by budget and what it does then.",
            ("budget", "at_limit"),
        )
        registry.gauge(
            "router_budget_store_up",
            "1 while spending is written to its store and read from it.",
            alike=True,
            read=lambda: float(self.reached),
        )
        registry.gauge(
            "router_budget_used",
            "The share of a budget that is used, by whoever used most of it.",
            ("budget",),
            alike=True,
            read=self._shares,
        )

    # -- on the request path ----------------------------------------------------------

    def exhausted(
        self, call: Call, snapshot: Snapshot, *, acted_on: bool = True
    ) -> tuple[Exhausted, ...]:
        """The budgets that are used up for this request; counted where it is ``acted_on``."""
        budgets = snapshot.config.budgets
        if not budgets:
            return ()
        over = []
        for name, budget, key in self._keys(call, budgets, snapshot.token):
            why = _over(budget, self.spent(key))
            if why is None:
                continue
            if acted_on:
                self._limited.add((name, budget.at_limit))
            if acted_on and key not in self._warned:
                self._warned.add(key)
                log.warning("the budget %s of a %s is used up: %s", name, budget.per, why)
            over.append(Exhausted(name, budget.at_limit, why, self._renews_s(budget.period)))
        return tuple(over)

    def charge(self, call: Call, decision: Decision, outcome: Outcome, snapshot: Snapshot) -> None:
        """Count what one answer cost; what the upstream did not count is estimated."""
        budgets = snapshot.config.budgets
        if not budgets:
            return
        amount = cost(call, decision, outcome, snapshot)
        if amount == _NONE:
            return
        for _, _, key in self._keys(call, budgets, snapshot.token):
            self._pending[key] = self._pending.get(key, _NONE).plus(amount)

    def spent(self, key: Key) -> Amount:
        """What is known to be spent."""
        total = self._totals.get(key, _NONE).plus(self._pending.get(key, _NONE))
        return total.plus(self._sending.amounts.get(key, _NONE)) if self._sending else total

    def _keys(
        self, call: Call, budgets: Mapping[str, Budget], token: Secret | None
    ) -> Iterator[tuple[str, Budget, Key]]:
        periods = self._current()
        for name, budget in budgets.items():
            for subject in subjects_of(budget.per, call, token):
                if budget.only and subject not in budget.only:
                    continue
                key = Key(name, periods[budget.period], subject)
                if key not in self._totals and key not in self._pending:
                    most = len(self._totals) + len(self._pending) >= _MOST_SUBJECTS
                    if most and not budget.only:
                        key = key._replace(subject=OTHERS)
                yield name, budget, key

    def _current(self) -> dict[str, str]:
        now = self._now()
        day = int(now // 86_400)
        if self._periods[0] != day:
            label = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")
            self._periods = (day, {"day": label, "month": label[:7]})
        return self._periods[1]

    def _renews_s(self, period: str) -> float:
        now = self._now()
        today = now - now % 86_400
        if period == "day":
            return today + 86_400 - now
        date = datetime.fromtimestamp(now, UTC)
        days = calendar.monthrange(date.year, date.month)[1] - date.day + 1
        return today + days * 86_400 - now

    # -- for operators -----------------------------------------------------------------

    def table(self) -> list[dict[str, Any]]:
        """Every budget and who has used how much of it, most first."""
        rows = []
        for name, budget in self._budgets().items():
            used = sorted(
                ((_share(budget, amount), key.subject, amount) for key, amount in self._of(name)),
                reverse=True,
            )
            rows.append(
                {
                    "budget": name,
                    "per": budget.per,
                    "period": self._current()[budget.period],
                    "usd": budget.usd,
                    "tokens": budget.tokens,
                    "at_limit": budget.at_limit,
                    "subjects": [
                        {"subject": who, "usd": a.usd, "tokens": a.tokens, "used": round(share, 4)}
                        for share, who, a in used[:1000]
                    ],
                }
            )
        return rows

    def _of(self, budget: str) -> list[tuple[Key, Amount]]:
        current = set(self._current().values())
        keys = {key for key in (*self._totals, *self._pending) if key.budget == budget}
        return [(key, self.spent(key)) for key in keys if key.period in current]

    def _shares(self) -> dict[tuple[str, ...], float]:
        return {
            (name,): max((_share(budget, amount) for _, amount in self._of(name)), default=0.0)
            for name, budget in self._budgets().items()
        }

    # -- beside the requests -------------------------------------------------------------

    async def start(self) -> None:
        """Take up what the store has, and go on in step with it."""
        try:
            self._totals = await self._store.load(tuple(self._current().values()))
        except Exception as exc:
            self._gone(exc)
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Send what was not sent yet; say what is lost where that fails."""
        self._stopping.set()
        if self._task is not None:
            await self._task
        await self.sync()
        if self._sending is not None:
            await self.sync()  # what came while the first of them was under way
        lost = [*self._pending.values()]
        lost += self._sending.amounts.values() if self._sending else []
        if any(amount != _NONE for amount in lost):
            log.error(
                "%.6f USD of spending could not be written and are lost to the budgets",
                sum(amount.usd for amount in lost),
            )
        await self._store.close()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), self._every_s)
            except TimeoutError:
                await self.sync()

    async def sync(self) -> None:
        """One round: send what was spent here, read what was spent everywhere."""
        if self._sending is None:
            amounts, self._pending = self._pending, {}
            floors = {key: self._totals[key] for key in amounts if key in self._totals}
            self._sending = Batch(secrets.token_hex(12), amounts, floors)
        batch = self._sending
        current = set(self._current().values())
        keys = {key for key in (*self._totals, *batch.amounts) if key.period in current}
        try:
            found = await self._store.add(batch, keys)
        except Exception as exc:
            self._gone(exc)
            return
        if not self.reached:
            self.reached = True
            log.warning("the spending store is back: what was counted meanwhile is in it")
        # a store that lost what it had is told again in the next round; until then what was
        # once read stands
        known = {key: amount for key, amount in self._totals.items() if key in keys}
        for key, amount in known.items():
            if _forgotten(amount, found.get(key, _NONE)):
                self._pending.setdefault(key, _NONE)
        self._sending = None
        self._totals = {**known, **{k: max(known.get(k, _NONE), a) for k, a in found.items()}}
        self._warned = {key for key in self._warned if key.period in current}

    def _gone(self, exc: Exception) -> None:
        if self.reached:
            self.reached = False
            log.error(
                "the spending store cannot be reached (%s): traffic flows, and spending is "
                "counted here until it is back",
                type(exc).__name__,
            )


def open_ledger(
    snapshot: Snapshot,
    registry: Registry,
    folder: Path,
    budgets: Callable[[], Mapping[str, Budget]],
) -> Ledger | None:
    """The ledger that ``snapshot`` asks for; None where it has no budget."""
    settings = snapshot.config.spending
    if not snapshot.config.budgets:
        return None
    store: Store
    if settings.redis is not None:
        store = RedisStore(settings.redis, snapshot.spending_password)
    else:
        store = SqliteStore(folder / settings.file)  # an absolute one stays as it is
    return Ledger(store, registry, settings.every_s, budgets)


def subjects_of(per: str, call: Call, token: Secret | None = None) -> tuple[str, ...]:
    """Whom a budget counts the call under; ``token`` is the port's own."""
    if per == "tenant":
        return (call.hints.tenant or NOBODY,)
    if per == "route":
        return (call.model,)
    if per == "key":
        return fingerprints(call, token)
    return (NOBODY,)


def fingerprints(call: Call, token: Secret | None = None) -> tuple[str, ...]:
    """The first 12 hex digits of the SHA-256 of each of the caller's keys; ``-`` without one.

    Of each, because only an upstream knows which of them counts: a made-up key beside the
    real one hides nothing. The port's own token, which all callers share, stands only where
    it is alone.
    """
    found = dict.fromkeys(map(_key_of, call.passed.credentials.splitlines()))
    found.pop(b"", None)
    if token is not None and len(found) > 1:
        found.pop(token.reveal().encode(), None)
    return tuple(hashlib.sha256(key).hexdigest()[:12] for key in found) or (NOBODY,)


def _key_of(line: bytes) -> bytes:
    """The key of a credential's line; the scheme before it may be in any case (RFC 9110)."""
    value = line.partition(b":")[2].strip()
    scheme, _, rest = value.partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" else value


def cost(call: Call, decision: Decision, outcome: Outcome, snapshot: Snapshot) -> Amount:
    """USD and tokens of one request, answers that were not passed on included.

    As counted, else as expected; an attempt without an answer costs nothing, but for one
    that a hedge overtook or whose caller left: nobody says what it cost, and its question at
    least was read.
    """
    total = _NONE
    for failure in outcome.failures:
        if failure.model not in snapshot.models:
            continue
        if failure.usage is not None:
            total = total.plus(_counted(failure.model, failure.usage, snapshot) or _NONE)
        elif failure.overtaken:
            usd = price.cost(call, snapshot.models[failure.model], 0.0, EMPTY)
            total = total.plus(Amount(usd, call.input_tokens))
    counted = _counted(outcome.model, outcome.usage, snapshot)
    if counted is not None:
        return total.plus(counted)
    model = snapshot.models[outcome.model]
    if outcome.ended == "hang-up" and outcome.first_byte_ms is None:
        usd = price.cost(call, model, 0.0, EMPTY)
        return total.plus(Amount(usd, call.input_tokens))
    if outcome.status >= 300 or outcome.ended == "refused":
        return total
    sent = price.as_sent(call, model)
    output = price.output_tokens(sent, model, decision.reading, EMPTY)
    usd = price.cost(call, model, output, EMPTY)
    return total.plus(Amount(usd, round(sent.input_tokens + output)))


def _counted(model: str, usage: Usage, snapshot: Snapshot) -> Amount | None:
    usd = snapshot.models[model].price.charged(usage)
    if usd is None:
        return None
    return Amount(usd, (usage.input_tokens or 0) + (usage.output_tokens or 0))


def _forgotten(known: Amount, kept: Amount) -> bool:
    """Whether a store has less than it once had, but for the last digits of its sums."""
    return kept.tokens < known.tokens or kept.usd < known.usd * (1 - 1e-9)


def _share(budget: Budget, spent: Amount) -> float:
    of_usd = spent.usd / budget.usd if budget.usd else 0.0
    return max(of_usd, spent.tokens / budget.tokens if budget.tokens else 0.0)


def _over(budget: Budget, spent: Amount) -> str | None:
    if budget.usd is not None and spent.usd >= budget.usd:
        return f"{spent.usd:.4g} of {budget.usd:g} USD a {budget.period}"
    if budget.tokens is not None and spent.tokens >= budget.tokens:
        return f"{spent.tokens} of {budget.tokens} tokens a {budget.period}"
    return None
