"""The latest decisions, kept in memory for whoever looks at the dashboard.

A bounded ring of what accounting had in hand anyway: noting one costs a request
an append, and it becomes words only when somebody asks. A reader comes back with
the count it saw last and gets what is new since.
"""

from __future__ import annotations

import secrets
from collections import deque
from itertools import islice
from typing import Any, Final

from sidecar.account import Record, said

_KEPT: Final = 500
_MOST: Final = 200  # told at once


class Recent:
    """The last requests of one process, oldest first.

    ``name`` tells one process's ring from another's, and from that of the process
    that took its place.
    """

    __slots__ = ("_kept", "name", "total")

    def __init__(self, kept: int = _KEPT) -> None:
        self.name = secrets.token_hex(4)
        self.total = 0  # ever noted
        self._kept: deque[Record] = deque(maxlen=kept)

    def note(self, over: Record) -> None:
        self.total += 1
        self._kept.append(over)

    def since(self, seen: int = 0, most: int = _MOST) -> list[dict[str, Any]]:
        """The requests after the first ``seen``, the latest ``most`` of them, oldest first."""
        if not 0 <= seen <= self.total:
            seen = 0  # a count of some other ring
        new = min(self.total - seen, len(self._kept), most)
        return [_told(over) for over in islice(self._kept, len(self._kept) - new, None)]


def _told(over: Record) -> dict[str, Any]:
    """What the decision log says, and what only the dashboard does."""
    return {
        **said(over),
        "steps": [{"stage": step.stage, "verdict": step.verdict} for step in over.decision.steps],
        "stages_ms": {stage: round(ms, 3) for stage, ms in over.laps.items()},
        "prompt": over.prompt,
    }
