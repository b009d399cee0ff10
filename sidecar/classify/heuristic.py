"""Difficulty from the surface of a text: the last resort, where no encoder loads.

It knows no demand, only a difficulty, from length, structure and words that ask
for reasoning. It is far weaker than the encoder and says so: its out-of-
distribution score is a half, so that every policy leans to the stronger model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from sidecar.types import Reading

_HARD: Final = re.compile(
    r"\b(prove|proof|derive|theorem|integral|eigen\w*|complexity|optimi[sz]e|refactor|debug|"
    r"architect\w*|design|analy[sz]e|compare|trade-?offs?|step by step|why|strategy|diagnos\w*)\b",
    re.IGNORECASE,
)
_STRUCTURE: Final = re.compile(r"[{}=<>\\^_]|\d{3,}|```")


class HeuristicReader:
    """Reads a window's surface."""

    version = "heuristic-1"

    def read(self, windows: Sequence[str]) -> list[Reading]:
        return [Reading(difficulty(w), ood=0.5, version=self.version) for w in windows]


def difficulty(window: str) -> float:
    """0..1: a logistic of log length, structure density and reasoning words."""
    words = len(window.split())
    signs = len(_STRUCTURE.findall(window)) / (words + 1)
    asks = min(3, len(_HARD.findall(window)))
    score = -2.2 + 0.45 * math.log1p(words) + 1.5 * min(1.0, signs) + 0.8 * asks
    return 1.0 / (1.0 + math.exp(-score))
