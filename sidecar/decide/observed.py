"""What a model's past answers say of its next one: latency, errors, length.

Plain numbers, as of the moment the view was taken; :mod:`sidecar.state.observed` makes
them of what it saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Final

from sidecar.frozen import dataclass

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
class Observed:
    """One model's answers so far."""

    reliability: float = 1.0  # the chance that an attempt gives an answer at all
    first_s: float | None = None  # to the first content; None where none was seen of late
    token_s: float = 0.0  # from one token of output to the next
    # tokens of output by task; the empty task is all of them
    output_tokens: Mapping[str, Mean] = field(default_factory=lambda: _NO_LENGTHS)

    def latency_s(self, output_tokens: float) -> float | None:
        """Expected seconds to the last token of an answer; None where none was seen of late."""
        return None if self.first_s is None else self.first_s + self.token_s * output_tokens

    def length(self, task: str, usual: float) -> float:
        """Expected tokens of output for ``task``, where ``usual`` is what any model gives."""
        found = self.output_tokens.get(task)
        return usual if found is None else found.towards(usual)
