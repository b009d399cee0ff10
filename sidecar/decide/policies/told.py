"""The reason of a policy that decides by chances of its own, with those chances in it.

The candidates of a decision show the encoder's probabilities, whatever the policy makes of
them; a reason that did not say what was made would seem to contradict them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sidecar.decide.candidates import Candidates
from sidecar.types import Words

_SAID: Final = 3  # models whose chances are told


def with_chances(
    why: Words, how: str, candidates: Candidates, chances: Sequence[float], order: tuple[str, ...]
) -> Words:
    """``why``, ``how`` the ``chances`` of the candidates came about, and those of the first
    models in ``order``."""
    return Words(_said, (why, how, order[:_SAID], tuple(candidates.names), tuple(chances)))


def _said(
    why: Words, how: str, first: tuple[str, ...], names: tuple[str, ...], chances: tuple[float, ...]
) -> str:
    by_name = dict(zip(names, chances, strict=True))
    return f"{why}, {how}: {', '.join(f'{name} {by_name[name]:.3f}' for name in first)}"
