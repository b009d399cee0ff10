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

_NO_LENGTHS: Final[Mapping[str, float]] = MappingProxyType({})


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
    # mean tokens of output by task, with what is usual of the model as its prior;
    # the empty task is the mean over all
    output_tokens: Mapping[str, float] = field(default_factory=lambda: _NO_LENGTHS)

    def reliability(self, now: float) -> float:
        """The chance that an attempt gives an answer at all."""
        return 1.0 if self.errors is None else 1.0 - self.errors.expected(now)

    def latency_s(self, now: float, output_tokens: float) -> float | None:
        """Expected seconds to the last token of an answer; None where nothing was seen."""
        if self.first_s is None:
            return None
        rest = self.token_s.expected(now) * output_tokens if self.token_s else 0.0
        return self.first_s.expected(now) + rest

    def length(self, task: str) -> float | None:
        """Expected tokens of output for ``task``; None where nothing was seen."""
        found = self.output_tokens.get(task)
        return self.output_tokens.get("") if found is None else found
