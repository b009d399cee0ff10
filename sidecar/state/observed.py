"""What every answer teaches about the model that gave it: latency, errors, length.

Told of each outcome, it keeps for every model exponentially weighted averages and
publishes them as frozen :class:`~sidecar.decide.observed.Observed` values, a new
mapping each time: a decision that began with one keeps it. Bounded by the number
of configured models times the number of tasks. Nothing here outlives the process:
a sidecar that starts knows its prices and learns the rest in minutes.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from sidecar.decide.observed import Mean, Observed, Trend
from sidecar.decide.price import DEFAULT_OUTPUT
from sidecar.types import Call, Decision, Outcome

_QUICK: Final = 0.1  # of a new latency in the quick average
# Errors are rare and all or nothing: one of them must not turn a route around. An
# upstream that is down altogether is the breaker's business, and it is quicker.
_QUICK_ERRORS: Final = 0.05
_SLOW: Final = 0.005  # of a new figure in the slow average, once there are many
_LENGTH_MEMORY: Final = 1000.0  # answers; older ones fade
_NO_ERROR: Final = Trend(0.0, 0.0, 0.0)


@dataclass(slots=True)
class _Average:
    """A trend and how many figures are behind it."""

    trend: Trend | None = None
    count: int = 0

    def add(self, value: float, now: float) -> None:
        self.count += 1
        if self.trend is None:
            self.trend = Trend(value, value, now)
            return
        recent, usual = self.trend.expected(now), self.trend.usual
        slow = max(_SLOW, 1.0 / self.count)
        self.trend = Trend(recent + _QUICK * (value - recent), usual + slow * (value - usual), now)


def _counted(means: Mapping[str, Mean], task: str, tokens: int) -> Mapping[str, Mean]:
    """``means`` by task with one more answer in them; the empty task is all tasks."""
    found = dict(means)
    for name in {"", task}:
        old = found.get(name, Mean())
        count = min(old.count + 1, _LENGTH_MEMORY)
        found[name] = Mean(count, old.mean + (tokens - old.mean) / count)
    return MappingProxyType(found)


@dataclass(slots=True)
class _Model:
    """All that is kept of one model."""

    first: _Average = field(default_factory=_Average)
    token: _Average = field(default_factory=_Average)
    errors: Trend = _NO_ERROR
    lengths: Mapping[str, Mean] = field(default_factory=dict)

    def tried(self, failed: bool, now: float) -> None:
        """Count an attempt. Errors fade to none and not to what was usual: a model that
        nobody asks any more, because it failed, must be asked again some day."""
        recent = self.errors.expected(now)
        self.errors = Trend(recent + _QUICK_ERRORS * (failed - recent), 0.0, now)

    def timed(
        self, stream: bool, first_s: float, total_s: float, tokens: int | None, now: float
    ) -> None:
        """Split the time of an answer into that to its first token and that between tokens."""
        if stream and tokens:
            self.token.add(max(0.0, total_s - first_s) / tokens, now)
        elif not stream:  # it came at once, when all of it was there
            pace = self.token.trend.usual if self.token.trend and tokens else 0.0
            first_s = max(0.0, total_s - pace * (tokens or 0))
        self.first.add(first_s, now)

    def frozen(self) -> Observed:
        return Observed(
            first_s=self.first.trend,
            token_s=self.token.trend,
            errors=self.errors,
            output_tokens=self.lengths,
        )


class Observations:
    """What was seen of every model, and what decisions may know of it."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}
        self._lengths: Mapping[str, Mean] = {}
        self.seen: Mapping[str, Observed] = MappingProxyType({})
        self.lengths: Mapping[str, float] = MappingProxyType({})  # by task, of any model

    def remember(
        self,
        call: Call,
        decision: Decision,
        outcome: Outcome,
        configured: Container[str],
        now: float,
    ) -> None:
        """Learn from one answer, at ``now`` in Unix seconds; models not ``configured`` go.

        A caller who left teaches nothing of errors, and an answer that came after
        failed attempts nothing of latency: its time was theirs too.
        """
        changed: dict[str, _Model] = {}

        def of(name: str) -> _Model:
            changed[name] = self._models.setdefault(name, _Model())
            return changed[name]

        for failure in outcome.failures:
            if failure.usage is not None:
                continue  # it did answer
            of(failure.model).tried(True, now)
        if outcome.ended == "upstream-broken":
            of(outcome.model).tried(True, now)
        elif outcome.ended == "complete" and outcome.status < 400:
            model = of(outcome.model)
            model.tried(False, now)
            tokens = outcome.usage.output_tokens
            if outcome.first_byte_ms is not None and not outcome.failures:
                first_s, total_s = outcome.first_byte_ms / 1e3, outcome.total_ms / 1e3
                model.timed(call.stream, first_s, total_s, tokens, now)
            if tokens is not None:
                self._length(model, decision.reading.task if decision.reading else "", tokens)
        if not changed:
            return
        found = {name: old for name, old in self.seen.items() if name in configured}
        for name, model in changed.items():
            if name in configured:
                found[name] = model.frozen()
        self._models = {name: m for name, m in self._models.items() if name in configured}
        self.seen = MappingProxyType(found)

    def _length(self, model: _Model, task: str, tokens: int) -> None:
        model.lengths = _counted(model.lengths, task, tokens)
        self._lengths = _counted(self._lengths, task, tokens)
        usual = self._lengths[""].towards(DEFAULT_OUTPUT)
        every = {name: mean.towards(usual) for name, mean in self._lengths.items()}
        self.lengths = MappingProxyType(every | {"": usual})
