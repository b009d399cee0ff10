"""What a log says of shadows and of the arms of a split, with intervals."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.config.schema.experiments import CONTROL
from sidecar.offline.intervals import bootstrap, difference, wilson


def _numbers() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Arm:
    """One arm of one route."""

    requests: int = 0
    failed: int = 0
    costs: array[float] = field(default_factory=_numbers)
    chances: array[float] = field(default_factory=_numbers)
    scores: array[float] = field(default_factory=_numbers)

    def add(self, row: Mapping[str, Any], chance: float | None) -> None:
        self.requests += 1
        self.failed += row["ended"] == "failed"
        if row["cost_usd"] is not None:
            self.costs.append(row["cost_usd"])
        if chance is not None:
            self.chances.append(chance)

    def as_dict(self, control: Arm | None) -> dict[str, Any]:
        said: dict[str, Any] = {
            "requests": self.requests,
            "failed_share": _share(self.failed, self.requests),
        }
        for name, values in (
            ("cost_usd", self.costs),
            ("chance", self.chances),
            ("score", self.scores),
        ):
            said[name] = _mean(values)
            if control is not None:
                other = {"cost_usd": control.costs, "chance": control.chances,
                         "score": control.scores}[name]  # fmt: skip
                said[name]["against_control"] = _rounded(difference(values, other))
        return said


@dataclass(slots=True)
class Shadow:
    """What one route's shadow would have done."""

    requests: int = 0
    undecided: int = 0  # an error, or no reading in time
    same: int = 0  # the model that was decided on
    models: dict[str, int] = field(default_factory=dict)
    cost_usd: float = 0.0  # over the requests where both costs are known
    shadow_usd: float = 0.0
    chances: array[float] = field(default_factory=_numbers)
    live: array[float] = field(default_factory=_numbers)

    def add(self, row: Mapping[str, Any], chance: float | None) -> None:
        shadow = row["shadow"]
        self.requests += 1
        model = shadow["model"]
        if model is None or shadow["reason"] in {"deadline", "classifier-down"}:
            self.undecided += 1
            return
        self.models[model] = self.models.get(model, 0) + 1
        self.same += model == row["decided"]
        if shadow["cost_usd"] is not None and row["cost_usd"] is not None:
            self.cost_usd += row["cost_usd"]
            self.shadow_usd += shadow["cost_usd"]
        if shadow["p"] is not None:
            self.chances.append(shadow["p"])
        if chance is not None:
            self.live.append(chance)

    def as_dict(self) -> dict[str, Any]:
        decided = self.requests - self.undecided
        saved = 1 - self.shadow_usd / self.cost_usd if self.cost_usd else None
        return {
            "requests": self.requests,
            "undecided": self.undecided,
            "same_model": _share(self.same, decided),
            "models": dict(sorted(self.models.items())),
            "cost_usd": round(self.cost_usd, 6),
            "shadow_usd": round(self.shadow_usd, 6),
            "saved_share": None if saved is None else round(saved, 4),
            "chance": _mean(self.chances),
            "chance_live": _mean(self.live),
        }


@dataclass(slots=True)
class Trials:
    """Every shadow and every arm of a log."""

    arms: dict[str, dict[str, Arm]] = field(default_factory=dict)  # by route and name
    shadows: dict[str, Shadow] = field(default_factory=dict)  # by "route -> shadow"

    def add(self, row: Mapping[str, Any], chance: float | None) -> None:
        if row.get("arm"):
            self._arm(row).add(row, chance)
        if row.get("shadow"):
            name = f"{row['route']} -> {row['shadow']['route']}"
            self.shadows.setdefault(name, Shadow()).add(row, chance)

    def score(self, row: Mapping[str, Any]) -> None:
        """A line of feedback."""
        if row.get("arm"):
            self._arm(row).scores.append(row["score"])

    def _arm(self, row: Mapping[str, Any]) -> Arm:
        return self.arms.setdefault(row["route"], {}).setdefault(row["arm"], Arm())

    def as_dict(self) -> dict[str, Any]:
        return {
            "arms": {
                route: {
                    name: arm.as_dict(arms.get(CONTROL) if name != CONTROL else None)
                    for name, arm in sorted(arms.items())
                }
                for route, arms in sorted(self.arms.items())
            },
            "shadows": {name: each.as_dict() for name, each in sorted(self.shadows.items())},
        }


def _mean(values: Sequence[float]) -> dict[str, Any]:
    n = len(values)
    mean = round(sum(values) / n, 8) if n else None
    return {"n": n, "mean": mean, "interval": _rounded(bootstrap(values))}


def _share(hits: int, n: int) -> dict[str, Any]:
    return {"share": round(hits / n, 6) if n else None, "interval": _rounded(wilson(hits, n))}


def _rounded(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else [round(end, 8) for end in interval]
