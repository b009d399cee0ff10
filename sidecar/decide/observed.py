"""What a model's past answers say of its next one: latency, errors, length.

Values only; :mod:`sidecar.state.observed` keeps them up to date. A trend pairs a
quick average with a slow one, and the quick one fades towards the slow one with
time: a model that failed a minute ago and was avoided since is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

HALF_LIFE_S: Final = 30.0  # in which news of a model loses half its weight
# A latency older than this says nothing: a model that was slow once is tried again.
FORGET_S: Final = 600.0

LENGTH_PRIOR: Final = 10.0  # answers of usual length that a task is taken to have had


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of some answers."""

    count: float = 0.0
    mean: float = 0.0

    def towards(self, usual: float) -> float:
        """The mean, shrunk to ``usual`` as far as few answers are behind it."""
        return (self.count * self.mean + LENGTH_PRIOR * usual) / (self.count + LENGTH_PRIOR)


_NO_LENGTHS: Final[Mapping[str, Mean]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Trend:
    """A figure as it was of late, and as it usually is."""

    recent: float
    usual: float
    at: float  # Unix seconds of the last observation

    def expected(self, now: float) -> float:
        """The figure at ``now``: of late while that is news, else as usual."""
        age = max(0.0, now - self.at)
        return float(self.usual + (self.recent - self.usual) * 0.5 ** (age / HALF_LIFE_S))


@dataclass(frozen=True, slots=True)
class Observed:
    """One model's answers so far."""

    first_s: Trend | None = None  # to the first content
    token_s: Trend | None = None  # from one token of output to the next
    errors: Trend | None = None  # share of attempts that gave nothing to pass on
    # tokens of output by task; the empty task is all of them
    output_tokens: Mapping[str, Mean] = field(default_factory=lambda: _NO_LENGTHS)

    def reliability(self, now: float) -> float:
        """The chance that an attempt gives an answer at all."""
        return 1.0 if self.errors is None else 1.0 - self.errors.expected(now)

    def latency_s(self, now: float, output_tokens: float) -> float | None:
        """Expected seconds to the last token of an answer; None where none was seen of late."""
        if self.first_s is None or now - self.first_s.at > FORGET_S:
            return None
        rest = self.token_s.expected(now) * output_tokens if self.token_s else 0.0
        return self.first_s.expected(now) + rest

    def length(self, task: str, usual: float) -> float:
        """Expected tokens of output for ``task``, where ``usual`` is what any model gives."""
        found = self.output_tokens.get(task)
        return usual if found is None else found.towards(usual)
