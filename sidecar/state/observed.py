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

from sidecar.decide.observed import Mean, Observed
from sidecar.decide.price import DEFAULT_OUTPUT
from sidecar.types import Call, Decision, Outcome

_QUICK: Final = 0.1  # of a new latency in the quick average
# Errors are rare and all or nothing: one of them must not turn a route around. An
# upstream that is down altogether is the breaker's business, and it is quicker.
_QUICK_ERRORS: Final = 0.05
_SLOW: Final = 0.005  # of a new figure in the slow average, once there are many
_LENGTH_MEMORY: Final = 1000.0  # answers; older ones fade
HALF_LIFE_S: Final = 30.0  # in which news of a model loses half its weight
# A latency older than this says nothing: a model that was slow once is tried again.
FORGET_S: Final = 600.0
_FRESH_S: Final = 1.0  # how old the published figures may be


@dataclass(frozen=True, slots=True)
class Trend:
    """A figure as it was of late, and as it usually is.

    The quick average fades towards the slow one with time: a model that failed a
    minute ago, and was avoided since, is tried again.
    """

    recent: float
    usual: float
    at: float  # Unix seconds of the last observation

    def expected(self, now: float) -> float:
        """The figure at ``now``: of late while that is news, else as usual."""
        age = max(0.0, now - self.at)
        return float(self.usual + (self.recent - self.usual) * 0.5 ** (age / HALF_LIFE_S))


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

    def observed(self, now: float) -> Observed:
        """What may be expected of it at ``now``."""
        first, token = self.first.trend, self.token.trend
        known = first is not None and now - first.at <= FORGET_S
        return Observed(
            reliability=1.0 - self.errors.expected(now),
            first_s=first.expected(now) if first and known else None,
            token_s=token.expected(now) if token else 0.0,
            output_tokens=self.lengths,
        )


class Observations:
    """What was seen of every model, and what decisions may know of it."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}
        self._lengths: Mapping[str, Mean] = {}
        self._seen: Mapping[str, Observed] = MappingProxyType({})
        self._as_of = 0.0  # when every model's figures were worked out
        self.lengths: Mapping[str, float] = MappingProxyType({})  # by task, of any model

    def seen(self, now: float) -> Mapping[str, Observed]:
        """What decisions may know of each model at ``now``, worked out once a second."""
        if not self._as_of <= now < self._as_of + _FRESH_S:
            models = self._models.items()
            self._seen = MappingProxyType({name: model.observed(now) for name, model in models})
            self._as_of = now
        return self._seen

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
        if changed:
            self._models = {name: m for name, m in self._models.items() if name in configured}
            seen = {name: old for name, old in self._seen.items() if name in configured}
            seen |= {name: changed[name].observed(now) for name in changed if name in configured}
            self._seen = MappingProxyType(seen)

    def _length(self, model: _Model, task: str, tokens: int) -> None:
        model.lengths = _counted(model.lengths, task, tokens)
        self._lengths = _counted(self._lengths, task, tokens)
        usual = self._lengths[""].towards(DEFAULT_OUTPUT)
        every = {name: mean.towards(usual) for name, mean in self._lengths.items()}
        self.lengths = MappingProxyType(every | {"": usual})
