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
from typing import Final

from sidecar.attempts.attempt import Attempt, Step
from sidecar.attempts.hedge import hedged
from sidecar.attempts.trial import Trial
from sidecar.clock import Deadlines
from sidecar.config.schema import Cascade
from sidecar.config.snapshot import ModelSpec, Snapshot, UpstreamSpec
from sidecar.decide.experiment import under
from sidecar.types import Call, Decision, Failure, Place
from sidecar.upstream.base import Upstreams
from sidecar.upstream.budget import RetryBudget
from sidecar.upstream.health import Health

_FIRST_WAIT_S: Final = 0.25  # at most, before the first retry; doubled for each after it
_LONGEST_WAIT_S: Final = 5.0


class Dispatcher:
    """Asks upstreams, for every request of a process."""

    def __init__(self, upstreams: Upstreams, health: Health, deadlines: Deadlines) -> None:
        self.upstreams = upstreams
        self.health = health
        self.deadlines = deadlines
        self._budgets: dict[str, RetryBudget] = {}  # by upstream's name

    async def dispatch(
        self,
        call: Call,
        decision: Decision,
        snapshot: Snapshot,
        failures: list[Failure] | None = None,
    ) -> Attempt:
        """The first candidate that begins to answer.

        A candidate with several replicas is asked at each that may be asked, the
        least loaded first, then as often again as its upstream's ``retries`` and the
        retry budget allow. Where all fail: the last upstream's own error, as an
        attempt to relay, or :class:`UpstreamsFailed` if none sent one.

        ``failures`` gets each attempt that came to nothing, as it does: they are there
        for whoever accounts for a caller who left in the middle, too.
        """
        trial = Trial(call, self.upstreams, self.health, self.deadlines, failures)
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
                    attempt = await hedged(step, steps, trial)
                else:
                    attempt = await (trial.at(step) if step.rules is None else trial.of(step))
                if attempt is not None:
                    trial.drop_rejected()
                    return attempt
            return trial.refused()
        except BaseException:
            trial.drop()
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
        self, decision: Decision, snapshot: Snapshot, trial: Trial, first: Step | None
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
                spec = min(replicas, key=lambda each: self.health.of(each).rests_until)
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


def _kept_at(place: Place, model: ModelSpec) -> tuple[UpstreamSpec, ...]:
    """The one address of ``model`` that knows the answer that the request goes on with."""
    return tuple(spec for spec in model.replicas if place.is_at(spec.name, spec.base_url))
