"""The nearest of some thousand vectors, all of them looked at and hardly any of them whole.

Demand vectors vary mostly along a few directions. Along the first of these, a distance is
never more than it is along all, so it is a bound, and a product of matrices half as wide as
the vectors bounds them all. Those that it leaves are measured whole; where the last of
them that is taken is nearer than the bound of any that was left out, nothing nearer can be
among those, and otherwise a second look takes in all that could be. So the answer is the
exact one, whatever the vectors are; only the time hangs on them.

A search is a dozen calls into numpy of a microsecond or two, and that is how it is to be
read: what takes one call less is worth an odd name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_DIRECTIONS: Final = 15  # that lead
_BESIDE: Final = 0.1  # of the squares of all lengths; where more is beside them, all lead
_LOOKED: Final = 4  # times as many as are asked for are measured whole; half where all lead
_GROUP: Final = 25  # of which only the best one stands for a search's bar
_ROUNDING: Final = 1e-5  # more than single precision is off by, in units of what is summed


class Nearest:
    """An exact search over ``vectors`` [n, K]. Searching it changes nothing.

    Scores are ``q . v - |v|^2 / 2``, which fall as the distance grows: the square of it is
    ``|q|^2`` less twice the score.
    """

    __slots__ = ("_bounds", "_far", "_looked", "_rows", "_turn")

    def __init__(self, vectors: Array) -> None:
        exact = vectors.astype(np.float64)
        n, width = exact.shape
        # the directions along which they differ most from nothing, the first ones first
        along, directions = np.linalg.eigh(exact.T @ exact)
        beside = along[:-_DIRECTIONS].sum() > _BESIDE * along.sum()
        leading = directions[:, ::-1][:, : width if beside else _DIRECTIONS]
        led = exact @ leading
        self._looked = _LOOKED // 2 if beside else _LOOKED
        # a query comes with a 1 at its end, which both of its products take the halves by
        self._rows = np.empty((n, width + 1), np.float32)  # [v, -|v|^2 / 2]
        self._rows[:, :-1] = vectors
        self._rows[:, -1] = -0.5 * np.einsum("ij,ij->i", exact, exact)
        self._turn = np.zeros((width + 1, leading.shape[1] + 1), np.float32)
        self._turn[:-1, :-1] = leading
        self._turn[-1, -1] = 1.0
        self._bounds = np.empty((leading.shape[1] + 1, n), np.float32)  # the same, as led
        self._bounds[:-1] = led.T
        self._bounds[-1] = -0.5 * np.einsum("ij,ij->i", led, led)
        self._far = float(-2.0 * self._rows[:, -1].min(initial=0.0))

    def __call__(
        self, query: Sequence[float] | NDArray[Any], count: int
    ) -> tuple[NDArray[Any], Array]:
        """Which are nearest to ``query`` [K], the farthest first, and their squared distances.

        ``count`` of them, or all where there are not so many.
        """
        rows, n = self._rows, len(self._rows)
        asked = np.array((*query, 1.0), np.float32)
        given = asked[:-1]
        own = float(given.dot(given))
        looked = self._looked * count
        if n <= looked:
            found, score, _ = _highest(np.arange(n), rows.dot(asked), count)
        else:
            led = asked.dot(self._turn)
            bounds = led.dot(self._bounds)
            # As many groups as are looked at have a best one that reaches the bar, so that
            # many reach it: a tenth of the time that a partition of all takes.
            size = min(_GROUP, n // looked)
            groups = n // size
            best = bounds[: groups * size].reshape(size, groups).max(0)
            best.partition(groups - looked)
            bar = float(best[groups - looked])
            found = (bounds >= bar).nonzero()[0]
            found, score, least = _highest(found, rows.take(found, 0).dot(asked), count)
            # no score is above its bound by more than half of the square of what of the
            # query is in no leading direction
            turned = led[:-1]
            aside = 0.5 * (own - float(turned.dot(turned)))
            off = _ROUNDING * (own + self._far)
            if least - aside - off < bar:
                found = (bounds >= least - aside - off).nonzero()[0]
                found, score, _ = _highest(found, rows.take(found, 0).dot(asked), count)
        score *= -2.0
        score += own
        return found, np.maximum(score, 0.0, out=score)


def _highest(found: NDArray[Any], score: Array, count: int) -> tuple[NDArray[Any], Array, float]:
    """The ``count`` of ``found`` with the highest scores, these, and the least of them."""
    top = score.argsort()[-count:]
    score = score[top]
    return found[top], score, float(score[0]) if len(score) else math.inf
