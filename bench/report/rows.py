"""The runs of ``bench/results.jsonl``, and which of them is quoted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Row:
    """One run as it was recorded."""

    bench: str
    when: str  # ISO 8601, UTC
    command: str
    machine: Figures
    figures: Figures
    disturbed: str = ""  # why its figures are kept and not quoted, added by hand

    @property
    def host(self) -> str:
        """The machine in words."""
        m = self.machine
        return f"{m['cpu']}, {m['cores']} cores, {m['system']}, Python {m['python']}"

    @property
    def moment(self) -> str:
        """When, and what else the machine was doing: the load of the minute before the run.

        Runs before 22 November 2026, 13:30 recorded the load at their end only.
        """
        before = self.machine.get("load_before")
        load = f"load {before:g} before" if before is not None else f"load {self.machine['load']:g}"
        priority = f", at {self.machine['priority']}" if "priority" in self.machine else ""
        return f"{self.when[:10]} {self.when[11:16]}, {load}{priority}"

    @property
    def source(self) -> str:
        """A table's cell: the command and the moment."""
        return f"`{self.command}`, {self.moment}"


@dataclass(frozen=True, slots=True)
class Results:
    """Every run, oldest first."""

    rows: tuple[Row, ...]

    @classmethod
    def of(cls, lines: Iterable[str]) -> Results:
        made = [json.loads(line) for line in lines if line.strip()]
        keys = ("bench", "when", "command", "machine", "figures")
        rows = [
            Row(**{key: row[key] for key in keys}, disturbed=row.get("disturbed", ""))
            for row in made
        ]
        return cls(tuple(sorted(rows, key=lambda row: row.when)))

    def newest(
        self, bench: str, good: Callable[[Figures], Any] = lambda figures: True
    ) -> Row | None:
        """The newest whole run of ``bench`` whose figures are ``good``.

        Runs of a part, and those that something disturbed, are not quoted.
        """
        for row in reversed(self.rows):
            whole = row.bench == bench and " --only" not in row.command and not row.disturbed
            if whole and good(row.figures):
                return row
        return None
