"""Has the traffic changed? Histograms of what needs no label, against a reference window.

Four signals: difficulty as read, how unlike the training data a text is, the length
of the prompt, and whether a decision had to do without a reading it could believe.
The distance is the population stability index, ``sum (p - q) ln(p / q)`` over bins
(Siddiqi 2006), with half a count added to each bin. By custom under 0.1 is no change
and over 0.25 is one to look into; with few requests chance alone gives about
``(bins - 1) (1/n + 1/m)``, which is taken off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

ALARM: Final = 0.25
ABSTAINED: Final = frozenset({"deadline", "classifier-down", "default"})
BOUNDS: Final[dict[str, tuple[float, ...]]] = {
    "difficulty": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "ood": (0.05, 0.1, 0.2, 0.5),
    "length": (16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0),
    "abstain": (0.5,),
}
SIGNALS: Final = tuple(BOUNDS)


def psi(reference: list[int], window: list[int]) -> float:
    """The population stability index of two histograms, less what chance gives."""
    n, m, bins = sum(reference), sum(window), len(reference)
    if not n or not m:
        return 0.0
    total = 0.0
    for a, b in zip(reference, window, strict=True):
        p, q = (a + 0.5) / (n + 0.5 * bins), (b + 0.5) / (m + 0.5 * bins)
        total += (p - q) * math.log(p / q)
    return max(0.0, total - (bins - 1) * (1 / n + 1 / m))


def _empty() -> dict[str, list[int]]:
    return {signal: [0] * (len(bounds) + 1) for signal, bounds in BOUNDS.items()}


@dataclass(slots=True)
class Window:
    """A histogram of each signal over some requests."""

    requests: int = 0
    counts: dict[str, list[int]] = field(default_factory=_empty)

    def add(
        self, difficulty: float | None, ood: float | None, length: float | None, abstained: bool
    ) -> None:
        """One request; None where a signal is not known of it."""
        self.requests += 1
        if difficulty is not None:
            self._count("difficulty", difficulty)
        if ood is not None:
            self._count("ood", ood)
        if length is not None:
            self._count("length", length)
        self._count("abstain", 1.0 if abstained else 0.0)

    def _count(self, signal: str, value: float) -> None:
        at = 0
        for bound in BOUNDS[signal]:
            if value < bound:
                break
            at += 1
        self.counts[signal][at] += 1

    def against(self, reference: Window) -> dict[str, float]:
        """How far each signal is from ``reference``."""
        return {s: psi(reference.counts[s], self.counts[s]) for s in SIGNALS}
