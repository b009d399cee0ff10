"""What every answer teaches about the model that gave it: latency, errors, length.

Told of each outcome, it keeps for every model exponentially weighted averages and
publishes them as frozen :class:`~sidecar.decide.observed.Observed` values, a new
mapping each time: a decision that began with one keeps it. Noting an answer is a few
sums; the values are worked out when a decision asks, from what is older than a tenth of
a second or from an error at once. Bounded by the number of configured models times the
number of tasks. Nothing here outlives the process: a sidecar that starts knows its
prices and learns the rest in minutes.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Final

from sidecar.decide.lengths import DEFAULT_OUTPUT, assumed
from sidecar.decide.observed import Mean, Observed
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
NEWS_S: Final = 0.1  # the same, where there are newer ones; an error is told at once


class _Trend:
    """A figure as it was of late, and as it usually is.

    The quick average fades towards the slow one with time: a model that failed a
    minute ago, and was avoided since, is tried again. ``at``: Unix seconds of the last
    observation.
    """

    __slots__ = ("at", "count", "recent", "usual")

    def __init__(self) -> None:
        self.count = 0
        self.recent = self.usual = self.at = 0.0

    def expected(self, now: float) -> float:
        """The figure at ``now``: of late while that is news, else as usual."""
        if self.recent == self.usual:
            return self.usual
        age = max(0.0, now - self.at)
        return float(self.usual + (self.recent - self.usual) * 0.5 ** (age / HALF_LIFE_S))

    def add(self, value: float, now: float) -> None:
        self.count += 1
        if self.count == 1:
            self.recent = self.usual = value
        else:
            recent = self.expected(now)
            slow = max(_SLOW, 1.0 / self.count)
            self.recent = recent + _QUICK * (value - recent)
            self.usual += slow * (value - self.usual)
        self.at = now


class _Lengths:
    """Mean tokens of output by task; the empty task is all tasks."""

    __slots__ = ("_means",)

    def __init__(self) -> None:
        self._means: dict[str, list[float]] = {}  # answers, and their mean

    def add(self, task: str, tokens: int) -> None:
        self._count("", tokens)
        if task:
            self._count(task, tokens)

    def _count(self, task: str, tokens: int) -> None:
        mean = self._means.get(task)
        if mean is None:
            mean = self._means[task] = [0.0, 0.0]
        if mean[0] < _LENGTH_MEMORY:
            mean[0] += 1.0
        mean[1] += (tokens - mean[1]) / mean[0]

    def published(self) -> Mapping[str, Mean]:
        return MappingProxyType({task: Mean(*mean) for task, mean in self._means.items()})


class _Model:
    """All that is kept of one model."""

    __slots__ = ("errors", "first", "lengths", "token")

    def __init__(self) -> None:
        self.first = _Trend()
        self.token = _Trend()
        self.errors = _Trend()
        self.lengths = _Lengths()

    def tried(self, failed: bool, now: float) -> None:
        """Count an attempt. Errors fade to none and not to what was usual: a model that
        nobody asks any more, because it failed, must be asked again some day."""
        errors = self.errors
        if failed or errors.recent:
            recent = errors.expected(now)
            errors.recent, errors.at = recent + _QUICK_ERRORS * (failed - recent), now

    def timed(
        self, stream: bool, first_s: float, total_s: float, tokens: int | None, now: float
    ) -> None:
        """Split the time of an answer into that to its first token and that between tokens."""
        if stream and tokens:
            self.token.add(max(0.0, total_s - first_s) / tokens, now)
        elif not stream:  # it came at once, when all of it was there
            pace = self.token.usual if tokens else 0.0
            first_s = max(0.0, total_s - pace * (tokens or 0))
        self.first.add(first_s, now)

    def observed(self, now: float) -> Observed:
        """What may be expected of it at ``now``."""
        known = self.first.count and now - self.first.at <= FORGET_S
        return Observed(
            reliability=1.0 - self.errors.expected(now),
            first_s=self.first.expected(now) if known else None,
            token_s=self.token.expected(now),
            output_tokens=self.lengths.published(),
        )


class Observations:
    """What was seen of every model, and what decisions may know of it."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}
        self._all = _Lengths()
        self._configured: Container[str] = ()
        self._seen: Mapping[str, Observed] = MappingProxyType({})
        self._lengths: Mapping[str, float] = MappingProxyType({})
        self._due = self._as_of = 0.0  # when what is published must be worked out, and was

    def seen(self, now: float) -> Mapping[str, Observed]:
        """What decisions may know of each model at ``now``."""
        if not self._as_of <= now < self._due:
            models = self._models.items()
            self._seen = MappingProxyType({name: model.observed(now) for name, model in models})
            self._lengths = self._usual()
            self._as_of, self._due = now, now + _FRESH_S
        return self._seen

    def lengths(self, now: float) -> Mapping[str, float]:
        """Expected tokens of output by task, of any model."""
        self.seen(now)
        return self._lengths

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
        if configured is not self._configured:
            self._configured = configured
            self._models = {name: m for name, m in self._models.items() if name in configured}
            self._due = 0.0
        for failure in outcome.failures:
            if failure.usage is None:  # else it did answer
                self._failed(failure.model, now)
        if outcome.ended == "upstream-broken":
            self._failed(outcome.model, now)
        elif outcome.ended == "complete" and outcome.status < 400:
            model = self._of(outcome.model)
            model.tried(False, now)
            tokens = outcome.usage.output_tokens
            if tokens is not None and call.choices > 1:  # written side by side: of one of them
                tokens = round(tokens / call.choices)
            if outcome.first_byte_ms is not None and not outcome.failures:
                first_s, total_s = outcome.first_byte_ms / 1e3, outcome.total_ms / 1e3
                model.timed(call.stream, first_s, total_s, tokens, now)
            if tokens is not None:
                task = decision.reading.task if decision.reading else ""
                model.lengths.add(task, tokens)
                self._all.add(task, tokens)
            self._due = min(self._due, self._as_of + NEWS_S)

    def _of(self, name: str) -> _Model:
        model = self._models.get(name)
        if model is None:
            self._due = 0.0
            model = _Model()
            if name in self._configured:
                self._models[name] = model
        return model

    def _failed(self, name: str, now: float) -> None:
        self._of(name).tried(True, now)
        self._due = 0.0

    def _usual(self) -> Mapping[str, float]:
        every = self._all.published()
        if not every:
            return MappingProxyType({})
        usual = every[""].towards(DEFAULT_OUTPUT)
        known = {task: mean.towards(assumed(task)) for task, mean in every.items()}
        return MappingProxyType(known | {"": usual})
