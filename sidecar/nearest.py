"""The nearest of some thousand vectors, by looking only at those on the pages around.

What a search costs is the memory that it reads. So vectors that are near to each other
stand together, a few dozen on a page: all of them are halved along the direction in which
they differ most, and each half again. A search asks which pages' centres are nearest, and
measures what stands on these. How many pages that takes hangs on the vectors, so it is
measured when they are put in order: as few as hold ``RECALL`` of what is nearest to some of
the vectors themselves. Demand vectors of real prompts vary along a few directions, and a
twentieth of the pages does. Where it takes many of them, and where there are few, all are
looked at, and the answer is exact.

A search is a dozen calls into numpy of about a microsecond, and that is how it is to be
read: what takes one call less is worth an odd name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

RECALL: Final = 0.98  # of the nearest, the share that is found
_ASIDE: Final = 32  # neighbours that this is measured for; more take as many more pages
_PAGE: Final = 32  # vectors on one
_MOST: Final = 0.3  # of the pages; with more, or no more than ``_FEW``, all are looked at
_FEW: Final = 32
_SAMPLE: Final = 128  # vectors that the number of pages is measured on


class Nearest:
    """A search over ``vectors`` [n, K]. Searching it changes nothing.

    A column of a page is ``(-2 v, |v|^2)``: its product with a query and a 1 at its end is
    the square of the distance less ``|q|^2``, which is the same for all.
    """

    __slots__ = ("_centres", "_count", "_keys", "_most", "_pages", "looked")

    def __init__(self, vectors: Array) -> None:
        self._count = len(vectors)
        order = _order(vectors.astype(np.float64))
        filled = np.arange(-(-len(order) // _PAGE) * _PAGE) % max(1, len(order))
        self._keys = order[filled].reshape(-1, _PAGE)  # the last page has some twice
        self._pages = _paged(vectors[order])
        self._centres = _paged(vectors[self._keys].mean(1))
        self._most = _MOST * len(self._pages)
        # how many pages a search for ``_ASIDE`` looks at; 0: at all of them
        self.looked = self._needed() if len(self._pages) > _FEW else 0

    def __call__(
        self, query: Sequence[float] | NDArray[Any], count: int
    ) -> tuple[NDArray[Any], Array]:
        """Which are nearest to ``query`` [K], in no order, and their squared distances, which
        single precision may put a little below 0.

        ``count`` of them, or all where there are not so many.
        """
        asked = np.array((*query, 1.0), np.float32)
        looked = self.looked if count <= _ASIDE else self.looked * count // _ASIDE
        pages, keys, count = self._pages, self._keys, min(count, self._count)
        if 0 < looked < self._most:
            at = np.matmul(asked, self._centres).ravel().argpartition(looked)[:looked]
            pages, keys = pages.take(at, 0), keys.take(at, 0)
        squares = np.matmul(asked, pages).ravel()
        top = squares.argpartition(count - 1)[:count]
        squares = squares.take(top)
        given = asked[:-1]
        squares += given.dot(given)
        return keys.ravel().take(top), squares

    def _needed(self) -> int:
        """The least number of pages that hold ``RECALL`` of the neighbours of some vectors,
        or 0 where that is too many."""
        size = self._pages.shape[0] * _PAGE
        sample = np.arange(0, self._count, -(-self._count // _SAMPLE))
        page, column = sample // _PAGE, sample % _PAGE
        asked = -0.5 * self._pages[page, :, column]
        asked[:, -1] = 1.0
        squares = np.matmul(asked, self._pages)  # [pages, sample, _PAGE]
        squares[page, np.arange(len(sample)), column] = np.inf  # itself is no neighbour
        squares = squares.transpose(1, 0, 2).reshape(len(sample), size)
        near = squares.argpartition(_ASIDE, axis=1)[:, :_ASIDE] // _PAGE
        away = np.matmul(asked, self._centres).transpose(1, 0, 2).reshape(len(sample), -1)
        ranks = np.take_along_axis(away.argsort(1).argsort(1), near, 1)  # 0: the nearest page
        # two at least, for the last page may be nearly empty
        looked = max(2, 1 + int(np.quantile(ranks, RECALL, method="higher")))
        return looked if looked < self._most else 0


def _paged(vectors: Array) -> Array:
    """``(-2 v, |v|^2)`` of each of ``vectors`` [n, K] as a column, by page [pages, K + 1, _PAGE].

    What fills the last page is infinitely far from everything.
    """
    n, width = vectors.shape
    exact = np.zeros((-(-n // _PAGE) * _PAGE, width + 1))
    exact[:n, :-1] = vectors
    exact[:n, -1] = np.einsum("ij,ij->i", exact[:n, :-1], exact[:n, :-1])
    exact[:, :-1] *= -2.0
    exact[n:, -1] = np.inf
    columns = exact.astype(np.float32).reshape(-1, _PAGE, width + 1).transpose(0, 2, 1)
    return np.ascontiguousarray(columns)


def _order(vectors: NDArray[np.float64]) -> NDArray[np.int64]:
    """The vectors' numbers in an order in which each page's stand close together."""
    done, waiting = [], [np.arange(len(vectors))]
    while waiting:
        part = waiting.pop()
        pages = -(-len(part) // _PAGE)
        if pages == 1:
            done.append(part)
            continue
        own = vectors[part] - vectors[part].mean(0)
        part = part[(own @ _widest(own)).argsort(kind="stable")]
        half = pages // 2 * _PAGE
        waiting += [part[half:], part[:half]]  # the first half is next: a short page comes last
    return np.concatenate(done)


def _widest(own: NDArray[np.float64]) -> NDArray[np.float64]:
    """About the direction along which ``own`` [n, K], of mean nothing, varies most.

    What a matrix of covariances has most of is nearly all that is left of its 32nd power.
    LAPACK would say it exactly, by threads that take milliseconds to meet where cores are busy.
    """
    power = own.T @ own
    for _ in range(5):
        power /= max(power.trace(), 1e-300)
        power = power @ power
    return np.asarray(power[power.diagonal().argmax()])
