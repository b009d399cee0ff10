"""Savings from a decision log, with everything counted that counts against them.

What was paid is the sum over answers whose upstream counted tokens; what
always-strong would have paid is the same tokens at the price of the dearest
model each request could have gone to. Against the saving stand the sidecar's own
running cost over the log's span, and attempts that failed, each at what its model
was expected to cost for that request: nobody said what they cost, so all of it is
assumed. Answers of unknown cost are left out of both sums and counted apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sidecar.observe.drift import ABSTAINED, ALARM, Window
from sidecar.offline import log_lines
from sidecar.offline.trials import Trials

_LEAST: Final = 50  # requests of a window that says something


@dataclass(slots=True)
class Share:
    """One line of the report: a route, a model, a tenant, or everything."""

    requests: int = 0
    unknown: int = 0  # answered, and nobody counted
    failed: int = 0  # requests without an answer
    fallbacks: int = 0
    cost_usd: float = 0.0
    cost_strong_usd: float = 0.0
    retries_usd: float = 0.0
    by_reason: dict[str, int] = field(default_factory=dict)
    chances: int = 0  # requests whose model had a predicted chance
    chance_sum: float = 0.0
    scores: int = 0  # that came back for them
    score_sum: float = 0.0
    flips: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})

    def add(self, row: Mapping[str, Any], chance: float | None) -> None:
        self.requests += 1
        if chance is not None:
            self.chances += 1
            self.chance_sum += chance
        if row.get("flip") in self.flips:
            self.flips[row["flip"]] += 1
        reason: str = row["answered"]
        kind = "fallback" if reason.startswith("fallback:") else reason
        self.by_reason[kind] = self.by_reason.get(kind, 0) + 1
        self.fallbacks += kind == "fallback"
        expected = {c["model"]: c["cost_usd"] for c in row["candidates"]}
        for each in row["failed"]:  # what it cost where that is known, else what it would have
            known = each.get("cost_usd")
            self.retries_usd += expected.get(each["model"], 0.0) if known is None else known
        if row["ended"] == "failed":
            self.failed += 1
        elif row["cost_usd"] is None or row["cost_strong_usd"] is None:
            self.unknown += 1
        else:
            self.cost_usd += row["cost_usd"]
            self.cost_strong_usd += row["cost_strong_usd"]

    def score(self, value: float) -> None:
        """A line of feedback."""
        self.scores += 1
        self.score_sum += value

    def as_dict(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "chance": round(self.chance_sum / self.chances, 4) if self.chances else None,
            "scores": self.scores,
            "score": round(self.score_sum / self.scores, 4) if self.scores else None,
            "suspicious_flips": dict(self.flips),
            "unknown_cost": self.unknown,
            "failed": self.failed,
            "fallbacks": self.fallbacks,
            "cost_usd": round(self.cost_usd, 6),
            "cost_strong_usd": round(self.cost_strong_usd, 6),
            "retries_usd": round(self.retries_usd, 6),
            "reasons": dict(sorted(self.by_reason.items())),
        }


@dataclass(slots=True)
class Drift:
    """The last tenth of a log's routed requests against those before, without labels.

    ``rows`` are (difficulty, ood, length, abstained); a log is as long as it is, so they
    are kept rather than guessed at: four numbers a request.
    """

    rows: list[tuple[float | None, float | None, float | None, bool]] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        if row["route"] == "-":
            return
        reading = row.get("reading") or {}
        ood = reading.get("ood")
        lost = row["reason"] in ABSTAINED or (ood is not None and ood > 0.5)
        self.rows.append((reading.get("difficulty"), ood, row["tokens"]["input"], lost))

    def as_dict(self) -> dict[str, Any] | None:
        cut = len(self.rows) - len(self.rows) // 10
        if len(self.rows) - cut < _LEAST:
            return None
        before, after = Window(), Window()
        for place, row in enumerate(self.rows):
            (before if place < cut else after).add(*row)
        index = after.against(before)
        return {
            "reference": before.requests,
            "window": after.requests,
            "psi": {signal: round(value, 4) for signal, value in index.items()},
            "alarms": [signal for signal, value in index.items() if value >= ALARM],
        }


@dataclass(slots=True)
class Report:
    """A whole log, summed."""

    total: Share = field(default_factory=Share)
    routes: dict[str, Share] = field(default_factory=dict)
    models: dict[str, Share] = field(default_factory=dict)
    tenants: dict[str, Share] = field(default_factory=dict)
    decision_ms: list[float] = field(default_factory=list)
    first: datetime | None = None
    last: datetime | None = None
    bad_lines: int = 0
    router_usd: float = 0.0
    trials: Trials = field(default_factory=Trials)
    drift: Drift = field(default_factory=Drift)

    @property
    def saved_usd(self) -> float:
        """What is left of the difference once the router's own cost is taken off."""
        total = self.total
        return total.cost_strong_usd - total.cost_usd - total.retries_usd - self.router_usd

    def as_dict(self) -> dict[str, Any]:
        strong = self.total.cost_strong_usd
        ordered = sorted(self.decision_ms)
        return {
            **self.total.as_dict(),
            "router_usd": round(self.router_usd, 6),
            "saved_usd": round(self.saved_usd, 6),
            "saved_share": round(self.saved_usd / strong, 4) if strong else None,
            "decision_ms": {
                "p50": _at(ordered, 0.5),
                "p99": _at(ordered, 0.99),
            },
            "from": self.first.isoformat() if self.first else None,
            "to": self.last.isoformat() if self.last else None,
            "bad_lines": self.bad_lines,
            **self.trials.as_dict(),
            "drift": self.drift.as_dict(),
            "routes": {name: share.as_dict() for name, share in sorted(self.routes.items())},
            "models": {name: share.as_dict() for name, share in sorted(self.models.items())},
            "tenants": {name: share.as_dict() for name, share in sorted(self.tenants.items())},
        }


def summed(lines: Iterable[bytes], router_usd_per_hour: float = 0.0) -> Report:
    """The report of a log's lines. A line that is none is counted and passed over."""
    report = Report()
    for line in lines:
        if not line.strip():
            continue
        row = log_lines.read(line)
        if row is None:
            report.bad_lines += 1
            continue
        if log_lines.is_score(row):
            _score(report, row)
            continue
        when, chance = row["time"], _chance(row)
        report.total.add(row, chance)
        report.first = when if report.first is None else min(report.first, when)
        report.last = when if report.last is None else max(report.last, when)
        report.decision_ms.append(row["ms"]["decision"])
        for share in _shares(report, row):
            share.add(row, chance)
        report.trials.add(row, chance)
        report.drift.add(row)
    if report.first and report.last:
        hours = (report.last - report.first).total_seconds() / 3600
        report.router_usd = hours * router_usd_per_hour
    return report


def _shares(report: Report, row: Mapping[str, Any]) -> Iterator[Share]:
    for shares, key in (
        (report.routes, row["route"]),
        (report.models, row["model"]),
        (report.tenants, row.get("tenant") or "-"),
    ):
        yield shares.setdefault(key, Share())


def _score(report: Report, row: Mapping[str, Any]) -> None:
    value = row["score"]
    report.total.score(value)
    for share in _shares(report, row):
        share.score(value)
    report.trials.score(row)


def _chance(row: Mapping[str, Any]) -> float | None:
    """The chance of the model that answered, as it was decided with."""
    for candidate in row["candidates"]:
        if candidate["model"] == row["model"]:
            found: float | None = candidate["p"]
            return found
    return None


def _at(ordered: list[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
