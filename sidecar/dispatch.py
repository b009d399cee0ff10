"""Ordered attempts: from a decision to an upstream that has begun to answer.

The candidates were ordered by the decision and all of them can serve the call.
An attempt counts as begun once its first content is here, and until then the
caller has been sent nothing: so a refused connection, a 429, a 5xx, a stream
that stalls, breaks or ends empty all lead to the next candidate unnoticed. Any
other answer is the caller's, 4xx and 3xx included.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from sidecar.attempt import Attempt, Step, ask
from sidecar.clock import Deadlines
from sidecar.config.schema import Cascade
from sidecar.config.snapshot import ModelSpec, Snapshot, UpstreamSpec
from sidecar.decide.answer_check import fault
from sidecar.decide.experiment import under
from sidecar.dialects.answers import said
from sidecar.errors import UpstreamBroken, UpstreamError, UpstreamsFailed
from sidecar.tap import BlindTap
from sidecar.types import Call, Decision, Failure, Place
from sidecar.upstream.base import Upstreams
from sidecar.upstream.budget import RetryBudget
from sidecar.upstream.health import Health, retry_after

_RETRIED: Final = frozenset({408, 429})  # and 500 up
_FIRST_WAIT_S: Final = 0.25  # at most, before the first retry; doubled for each after it
_LONGEST_WAIT_S: Final = 5.0


class Dispatcher:
    """Asks upstreams, for every request of a process."""

    def __init__(self, upstreams: Upstreams, health: Health, deadlines: Deadlines) -> None:
        self.upstreams = upstreams
        self.health = health
        self.deadlines = deadlines
        self._budgets: dict[str, RetryBudget] = {}  # by upstream's name

    async def dispatch(self, call: Call, decision: Decision, snapshot: Snapshot) -> Attempt:
        """The first candidate that begins to answer.

        A candidate with several replicas is asked at each that may be asked, the
        least loaded first, then as often again as its upstream's ``retries`` and the
        retry budget allow. Where all fail: the last upstream's own error, as an
        attempt to relay, or :class:`UpstreamsFailed` if none sent one.
        """
        trial = _Trial(call, self)
        first = self._first(decision, snapshot)
        if first is not None:
            attempt = await trial.at(first)
            if attempt is not None:
                return attempt
        steps = self._steps(decision, snapshot, trial, first)
        try:
            for step in steps:
                if step.wait_s:
                    await asyncio.sleep(step.wait_s)
                if step.spec.hedge_after_s is not None:
                    attempt = await self._hedged(step, steps, trial)
                else:
                    attempt = await (trial.at(step) if step.rules is None else trial.of(step))
                if attempt is not None:
                    trial.drop_rejected()
                    return attempt
            return trial.refused()
        except BaseException:
            trial.drop_refusal()
            trial.drop_rejected()
            raise

    def _first(self, decision: Decision, snapshot: Snapshot) -> Step | None:
        """Whom to ask first, where nothing but its answer could make that another: nearly
        always, and then nobody else is looked for."""
        model = snapshot.models[decision.model]
        upstream = model.upstream
        if decision.tries or decision.at is not None or upstream.hedge_after_s is not None:
            return None
        spec = self.health.pick(model.replicas, (), time.monotonic())
        if spec is None:
            return None
        self._budget(upstream).asked(upstream.retry_budget)
        return Step(spec, model, decision.reason, 0.0)

    def _steps(
        self, decision: Decision, snapshot: Snapshot, trial: _Trial, first: Step | None
    ) -> Iterator[Step]:
        """Whom to ask next, after the ``first``, worked out when it is asked for."""
        route = snapshot.routes.get(decision.route) if decision.tries else None
        cascade = under(route, decision.arm).cascade if route else None
        for last_resort in (False, True):
            for index, name in enumerate((decision.model, *decision.fallbacks)):
                reason = f"fallback:{index}" if index else decision.reason
                rules = cascade if index < decision.tries else None
                model = snapshot.models[name]
                replicas = _kept_at(decision.at, model) if decision.at else model.replicas
                tried = {first.spec.base_url} if first is not None and not index else set[str]()
                for step in self._of(
                    model, replicas, reason, rules, tried, last_resort=last_resort
                ):
                    yield step
                    if name in trial.unfit:  # at another address it would be no better
                        break
            if trial.failures:  # else every breaker is open: then asking is all that is left
                return

    def _of(
        self,
        model: ModelSpec,
        replicas: tuple[UpstreamSpec, ...],
        reason: str,
        rules: Cascade | None,
        tried: set[str],
        *,
        last_resort: bool,
    ) -> Iterator[Step]:
        """One model's addresses but those ``tried``, and those that are asked again."""
        upstream, again = model.upstream, 0
        budget = self._budget(upstream)
        while True:
            spec = self.health.pick(replicas, tried, time.monotonic())
            wait_s = 0.0
            if spec is None and last_resort and not tried:
                spec = replicas[0]
            elif spec is None and tried and again < upstream.retries:
                again += 1
                spec, wait_s = self._again(replicas, again)
            if spec is None:
                return
            if tried and not budget.take(time.monotonic()):
                return
            if not tried:
                budget.asked(upstream.retry_budget)
            tried.add(spec.base_url)
            yield Step(spec, model, reason, wait_s, rules)

    def _again(
        self, replicas: tuple[UpstreamSpec, ...], number: int
    ) -> tuple[UpstreamSpec | None, float]:
        """The address of ``replicas`` that may be asked again soonest, and when."""
        now = time.monotonic()
        rests = [(self.health.of(spec).rests_until - now, spec) for spec in replicas]
        left, spec = min(rests, key=lambda rest: rest[0])
        # at random, so that those who failed together do not come back together
        jitter = random.uniform(0.1, 1.0) * _FIRST_WAIT_S * 2 ** (number - 1)  # noqa: S311
        wait_s = max(0.0, left) + jitter
        return (spec, wait_s) if wait_s <= _LONGEST_WAIT_S else (None, 0.0)

    def _budget(self, upstream: UpstreamSpec) -> RetryBudget:
        budget = self._budgets.get(upstream.name)
        if budget is None:
            budget = self._budgets[upstream.name] = RetryBudget(time.monotonic())
        return budget

    async def _hedged(self, first: Step, steps: Iterator[Step], trial: _Trial) -> Attempt | None:
        """The first to begin of ``first`` and, where it is slow to, of those after it."""
        running = {asyncio.ensure_future(trial.of(first)): first}
        wait_s = first.spec.hedge_after_s
        winner: Attempt | None = None
        try:
            while running and winner is None:
                done, _ = await asyncio.wait(
                    running, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    step = running.pop(task)
                    attempt = task.result()
                    if attempt is not None and winner is not None:
                        attempt.close()  # as good, and a moment later
                        trial.overtaken(step)
                    winner = winner or attempt
                if not done:
                    step_after = next(steps, None)
                    wait_s = None if step_after is None else step_after.spec.hedge_after_s
                    if step_after is not None:
                        running[asyncio.ensure_future(trial.of(step_after))] = step_after
        finally:
            for task, step in running.items():
                task.cancel()
                trial.overtaken(step)
            await asyncio.gather(*running, return_exceptions=True)
        return winner and replace(winner, failures=tuple(trial.failures))


def _kept_at(place: Place, model: ModelSpec) -> tuple[UpstreamSpec, ...]:
    """The one address of ``model`` that knows the answer that the request goes on with."""
    return tuple(spec for spec in model.replicas if place.is_at(spec.name, spec.base_url))


class _Trial:
    """The attempts of one request, and what is left of those that failed."""

    __slots__ = ("_call", "_fault", "_from", "_refusal", "_rejected", "failures", "unfit")

    def __init__(self, call: Call, dispatcher: Dispatcher) -> None:
        self._call = call
        self._from = dispatcher
        self._refusal: Attempt | None = None  # an upstream's own error, the latest
        self._fault: UpstreamError | None = None
        self._rejected: Attempt | None = None  # an answer that its check did not pass
        self.failures: list[Failure] = []
        self.unfit: set[str] = set()  # models whose answer did not pass its check

    async def of(self, step: Step) -> Attempt | None:
        """Ask as ``step`` says, and check the answer where it is to be checked."""
        attempt = await self.at(step)
        if attempt is None or step.rules is None:
            return attempt
        checked = await self.checked(attempt, step.rules)
        if checked is None:
            self.unfit.add(step.model.name)
        return checked

    def overtaken(self, step: Step) -> None:
        """Note a request that another was quicker than: its upstream may charge for it."""
        self.failures.append(Failure(step.model.name, "overtaken by a hedge", overtaken=True))

    async def at(self, step: Step) -> Attempt | None:
        """Ask as ``step`` says; None where nothing began to answer."""
        spec, model = step.spec, step.model
        health = self._from.health
        replica = health.begin(spec)
        try:
            attempt = await ask(
                self._call,
                step,
                self._from.upstreams,
                self._from.deadlines,
                replica=replica,
                failures=tuple(self.failures),
            )
        except UpstreamError as exc:
            health.ended(replica)
            health.failed(replica, time.monotonic())
            self._fault = exc
            self.failures.append(Failure(model.name, str(exc)))
            return None
        except BaseException:
            health.ended(replica)
            raise
        status = attempt.response.status
        if status < 500 and status not in _RETRIED:
            health.answered(replica)
            self.drop_refusal()
            return attempt
        health.failed(replica, time.monotonic(), retry_after(attempt.head.retry_after))
        self.drop_refusal()
        self._refusal = attempt
        self.failures.append(Failure(model.name, f"status {status}"))
        return None

    async def checked(self, attempt: Attempt, rules: Cascade) -> Attempt | None:
        """The answer, held until it is whole and has passed its check; None if it did not.

        One that is longer or slower than may be held, or cannot be read, passes.
        """
        if attempt.response.status >= 300 or isinstance(attempt.tap, BlindTap):
            return attempt
        held, ended = [attempt.held], attempt.ended
        size, until = sum(map(len, held)), time.monotonic() + rules.hold_s
        try:
            while not ended and size <= rules.hold_kb << 10 and time.monotonic() < until:
                with self._from.deadlines.limit(attempt.spec.timeouts.idle_s):
                    piece = await attempt.response.read()
                attempt.tap.feed(piece)
                held.append(piece)
                size += len(piece)
                ended = not piece
        except (UpstreamError, TimeoutError) as exc:
            attempt.close()
            why = str(exc) or "the stream stalled"
            self.failures.append(Failure(attempt.model.name, why, attempt.tap.usage()))
            self._fault = UpstreamBroken(why)
            return None
        except BaseException:
            attempt.close()
            raise
        attempt = replace(attempt, held=b"".join(held), ended=ended)
        if not ended:
            return attempt
        if attempt.streaming and (attempt.tap.error or not attempt.tap.whole):
            attempt.close()
            self._fault = UpstreamBroken("the stream ended without its end")
            self.failures.append(Failure(attempt.model.name, str(self._fault), attempt.tap.usage()))
            return None
        answer = said(self._call.dialect, attempt.held, streaming=attempt.streaming)
        lack = fault(answer, self._call, rules)
        if lack is None:
            return attempt
        self.drop_rejected()
        self._rejected = attempt
        self.failures.append(Failure(attempt.model.name, lack, attempt.tap.usage()))
        return None

    def drop_rejected(self) -> None:
        if self._rejected is not None:
            self._rejected.close()
            self._rejected = None

    def drop_refusal(self) -> None:
        if self._refusal is not None:
            self._refusal.close()
            self._refusal = None

    def refused(self) -> Attempt:
        """What to tell the caller where no candidate answered."""
        if self._rejected is not None:  # better than nothing: it was charged for
            self.drop_refusal()
            own, rejected = self._rejected.model.name, self._rejected
            # it is the answer now, and its cost is the answer's
            others = [f for f in self.failures if f.usage is None or f.model != own]
            return replace(rejected, failures=tuple(others))
        if self._refusal is not None:
            return self._refusal
        fault = self._fault
        assert fault is not None  # at least one candidate was asked
        raise UpstreamsFailed(
            f"No upstream could answer; the last said: {fault}. Try again.",
            status=fault.status,
            code=fault.code,
            failures=tuple((f.model, f.why) for f in self.failures),
        ) from fault
