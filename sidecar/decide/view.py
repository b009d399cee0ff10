"""What a decision may know beyond the request and the configuration.

A :class:`View` is a value, taken once when a decision begins from the state that
lives in the process (:mod:`sidecar.state`): so the decision stays a pure function,
which replays offline as it ran. The empty view is always a legal one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class View:
    """The world as one decision sees it."""

    pinned: str | None = None  # the kill switch's model, while it is on


EMPTY: Final = View()
