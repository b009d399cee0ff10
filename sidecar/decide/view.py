"""What a decision may know beyond the request and the configuration.

A :class:`View` is a value, taken once when a decision begins from the state that
lives in the process (:mod:`sidecar.state`): so the decision stays a pure function,
which replays offline as it ran. The empty view is always a legal one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Final, Protocol

from sidecar.decide.observed import Observed
from sidecar.decide.session import Held
from sidecar.frozen import dataclass
from sidecar.types import Place, Reading

_NONE: Final[Mapping[str, int]] = MappingProxyType({})
_NO_LENGTHS: Final[Mapping[str, float]] = MappingProxyType({})
_NEVER: Final[Mapping[str, Observed]] = MappingProxyType({})


class Draws(Protocol):
    """One draw of every model's ability from what is believed of it, made for one decision."""

    def probabilities(self, reading: Reading, models: Sequence[str]) -> list[float] | None:
        """P(suffices) of each configured name as drawn; None where nothing is believed."""
        ...


@dataclass(frozen=True, slots=True)
class Exhausted:
    """A budget that is used up for whoever sent the request."""

    budget: str
    at_limit: str  # cheapest | refuse | warn
    why: str
    renews_s: float  # seconds until it is whole again


@dataclass(frozen=True, slots=True)
class View:
    """The world as one decision sees it."""

    pinned: str | None = None  # the kill switch's model, while it is on
    now: float = 0.0  # Unix seconds; 0 where nobody says what time it is
    # by model, the tokens of this request that its upstream should have cached
    cached_tokens: Mapping[str, int] = field(default_factory=lambda: _NONE)
    # by model, what its recent answers say of its next one
    observed: Mapping[str, Observed] = field(default_factory=lambda: _NEVER)
    # by task, the expected tokens of output of any model; the empty task is any task
    lengths: Mapping[str, float] = field(default_factory=lambda: _NO_LENGTHS)
    draws: Draws | None = None  # for the policy that explores
    held: Held | None = None  # the conversation that this request goes on with
    arm: str | None = None  # of a split route, that this request belongs to
    place: Place | None = None  # of the answer that this request goes on with
    exhausted: tuple[Exhausted, ...] = ()  # budgets that are used up for this request


EMPTY: Final = View()
