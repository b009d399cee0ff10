"""The models that could take a request, by column: numbers to compute with, rows to look at.

A policy weighs dozens of models in a few microseconds, which is less than it takes to
make an object for each. So what is known of them stands in lists, one a quantity, and a
:class:`~sidecar.types.Candidate` is made only where somebody reads a row: the decision
log, ``explain``, the dashboard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from sidecar.types import Candidate


class Candidates(Sequence[Candidate]):
    """Rows of :class:`Candidate` over columns. Nobody changes a column."""

    __slots__ = (
        "_waits", "abilities", "costs", "names", "probabilities", "reliabilities",
    )  # fmt: skip

    def __init__(
        self,
        names: Sequence[str],
        probabilities: Sequence[float | None],
        costs: Sequence[float],
        reliabilities: Sequence[float] | None = None,  # None: all of them always answer
        *,
        abilities: tuple[str, ...] = (),  # whose each one has; left out where nobody asks
        waits: Sequence[float | None] | None = None,  # None: nothing was seen of any
    ) -> None:
        self.names, self.probabilities, self.costs = names, probabilities, costs
        self.reliabilities, self.abilities = reliabilities, abilities
        self._waits = waits

    @classmethod
    def of(cls, rows: Iterable[Candidate]) -> Candidates:
        rows = tuple(rows)
        return cls(
            [row.model for row in rows],
            [row.probability for row in rows],
            [row.cost_usd for row in rows],
            [row.reliability for row in rows],
            waits=[row.latency_s for row in rows],
        )

    @property
    def waits(self) -> Sequence[float | None]:
        """Expected seconds to the end of each one's answer; None where unknown."""
        if self._waits is None:
            self._waits = [None] * len(self.names)
        return self._waits

    def chance(self, model: str) -> float | None:
        """The probability of ``model``, where it is one of these; no row is made for it."""
        return self.probabilities[self.names.index(model)] if model in self.names else None

    def only(self, places: Sequence[int]) -> Candidates:
        """Those at ``places``, in that order."""
        rel, waits = self.reliabilities, self.waits
        return Candidates(
            [self.names[i] for i in places],
            [self.probabilities[i] for i in places],
            [self.costs[i] for i in places],
            None if rel is None else [rel[i] for i in places],
            abilities=tuple([self.abilities[i] for i in places]) if self.abilities else (),
            waits=[waits[i] for i in places],
        )

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, at: int) -> Candidate: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Candidate, ...]: ...
    def __getitem__(self, at: int | slice) -> Candidate | tuple[Candidate, ...]:
        if isinstance(at, slice):
            return tuple(self)[at]
        rel = self.reliabilities
        return Candidate(
            self.names[at],
            self.probabilities[at],
            self.costs[at],
            self.waits[at],
            1.0 if rel is None else rel[at],
        )

    def __iter__(self) -> Iterator[Candidate]:
        return map(self.__getitem__, range(len(self.names)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Candidates{tuple(self)!r}"
