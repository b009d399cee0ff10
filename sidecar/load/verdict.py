"""What a run shows, and whether each objective was met.

Quantiles are by the nearest rank: values that occurred. What is added is the
difference between a quantile of the routed legs and that of the direct ones,
which sent the same requests to the same models; its spread over the rounds is
given beside it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.load.client import Sample
from sidecar.load.plan import Plan, Price
from sidecar.load.run import DIRECT, ROUTED, Leg

ENCODER: Final = "encoder"
CACHE: Final = "cache"
NONE_IN_TIME: Final = "none in time"
NOT_NEEDED: Final = "not needed"
_UNREAD: Final = frozenset({"deadline", "classifier-down"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """One objective, and what was found. None was not measurable, and counts as missed."""

    objective: str
    limit: float
    found: float | None
    spread: tuple[float, float] | None = None  # over the rounds, least and most

    @property
    def met(self) -> bool:
        return self.found is not None and self.found <= self.limit


@dataclass(frozen=True, slots=True)
class Spread:
    """A set of times, in milliseconds."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        ordered = sorted(values)
        if not ordered:
            return None
        p50, p90, p99 = (quantile(ordered, q) for q in (0.5, 0.9, 0.99))
        return cls(len(ordered), p50, p90, p99, ordered[-1])


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in figures."""

    requests: int  # through the sidecar
    errors: Mapping[str, int]  # why: how many
    models: Mapping[str, int]
    reasons: Mapping[str, int]
    scenarios: Mapping[str, Mapping[str, Spread | None]]  # name: routed, direct, decision
    decision: Spread | None
    read: Spread | None  # the decision of those alone that the encoder read
    readings: Mapping[str, int]  # where they came from: how many
    first: Mapping[str, Spread | None]  # via: to the first content
    gap: Mapping[str, Spread | None]
    late: Spread | None  # the load generator's own lateness
    cost_usd: float | None
    cost_strong_usd: float | None
    unpriced: int  # answers whose cost is unknown
    direct_errors: Mapping[str, int] = field(default_factory=dict)  # of the direct legs
    without_price: tuple[str, ...] = ()  # models that answered, and the plan has no price of
    verdicts: tuple[Verdict, ...] = field(default=())

    @property
    def met(self) -> bool:
        return all(verdict.met for verdict in self.verdicts)


def quantile(ordered: Sequence[float], q: float) -> float:
    """The ``q`` quantile of sorted ``ordered``, by the nearest rank."""
    return ordered[min(len(ordered) - 1, max(0, math.ceil(q * len(ordered)) - 1))]


def summarise(plan: Plan, legs: Sequence[Leg]) -> Summary:
    """Every figure of the run and every verdict."""
    routed, direct = _samples(legs, ROUTED), _samples(legs, DIRECT)
    answered = [s for s in routed if not s.error]
    cost, strong, unpriced = bill(answered, plan.prices)
    names = dict.fromkeys(s.scenario for s in routed)
    return Summary(
        requests=len(routed),
        errors=Counter(s.error for s in routed if s.error),
        models=Counter(s.model for s in answered if s.model),
        reasons=Counter(s.reason for s in routed if s.reason),
        scenarios={
            name: {
                ROUTED: Spread.of(_first(s for s in routed if s.scenario == name)),
                DIRECT: Spread.of(_first(s for s in direct if s.scenario == name)),
                "decision": Spread.of(_decision(s for s in routed if s.scenario == name)),
            }
            for name in names
        },
        decision=Spread.of(_decision(routed)),
        read=Spread.of(_decision(s for s in routed if reading_of(s) == ENCODER)),
        readings=Counter(filter(None, map(reading_of, routed))),
        first={ROUTED: Spread.of(_first(routed)), DIRECT: Spread.of(_first(direct))},
        gap={ROUTED: Spread.of(_gaps(routed)), DIRECT: Spread.of(_gaps(direct))},
        late=Spread.of(s.late_ms for s in routed),
        cost_usd=cost,
        cost_strong_usd=strong,
        unpriced=unpriced,
        direct_errors=Counter(s.error for s in direct if s.error),
        without_price=tuple(sorted({s.model for s in answered if s.model} - set(plan.prices)))
        if plan.prices
        else (),
        verdicts=tuple(
            _judge(name, limit, legs, plan.prices) for name, limit in plan.objectives.given.items()
        ),
    )


def reading_of(sample: Sample) -> str:
    """Where the reading that a decision rests on came from; empty where nobody says."""
    if sample.reason in _UNREAD:
        return NONE_IN_TIME
    if "cache" in sample.stages:
        return CACHE
    if "classify" in sample.stages:
        return ENCODER
    return NOT_NEEDED if sample.stages else ""


def bill(
    samples: Iterable[Sample], prices: Mapping[str, Price]
) -> tuple[float | None, float | None, int]:
    """USD of what was answered, USD had the dearest model answered it, and how many are unknown."""
    if not prices:
        return None, None, 0
    strongest = max(prices.values(), key=lambda price: price.output)
    cost = strong = 0.0
    unknown = 0
    for sample in samples:
        price = prices.get(sample.model)
        if price is None or sample.input_tokens is None or sample.output_tokens is None:
            unknown += 1
            continue
        cost += _usd(price, sample)
        strong += _usd(strongest, sample)
    return cost, strong, unknown


def _usd(price: Price, sample: Sample) -> float:
    cached = sample.cached_tokens or 0
    rate = price.input if price.cached_input is None else price.cached_input
    fresh = (sample.input_tokens or 0) - cached
    return (fresh * price.input + cached * rate + (sample.output_tokens or 0) * price.output) / 1e6


def _samples(legs: Iterable[Leg], via: str) -> list[Sample]:
    return [sample for leg in legs if leg.via == via for sample in leg.samples]


def _first(samples: Iterable[Sample]) -> list[float]:
    return [s.first_ms for s in samples if s.first_ms is not None and not s.error]


def _gaps(samples: Iterable[Sample]) -> list[float]:
    return [gap for s in samples if s.stream and not s.error for gap in s.gaps_ms]


def _decision(samples: Iterable[Sample]) -> list[float]:
    return [s.decision_ms for s in samples if s.decision_ms is not None]


_TIMES: Final[Mapping[str, Callable[[Iterable[Sample]], list[float]]]] = {
    "decision": _decision,
    "first_content": _first,
    "gap": _gaps,
}
_QUANTILES: Final = {"p50": 0.50, "p99": 0.99}


def _judge(name: str, limit: float, legs: Sequence[Leg], prices: Mapping[str, Price]) -> Verdict:
    rounds = sorted({leg.round for leg in legs})
    each = [_found(name, [leg for leg in legs if leg.round == r], prices) for r in rounds]
    known = [value for value in each if value is not None]
    found = _found(name, legs, prices)
    return Verdict(name, limit, found, (min(known), max(known)) if known else None)


def _found(name: str, legs: Sequence[Leg], prices: Mapping[str, Price]) -> float | None:
    routed = _samples(legs, ROUTED)
    if name == "error_rate":
        return sum(bool(s.error) for s in routed) / len(routed) if routed else None
    if name in {"cost_share", "usd_per_1000"}:
        answered = [s for s in routed if not s.error]
        cost, strong, unknown = bill(answered, prices)
        if cost is None or strong is None or len(answered) == unknown:
            return None
        if name == "cost_share":
            return cost / strong if strong else None
        return cost / (len(answered) - unknown) * 1000
    added = name.startswith("added_")
    what, _, which = name.removeprefix("added_").removesuffix("_ms").rpartition("_")
    here = sorted(_TIMES[what](routed))
    if not here:
        return None
    value = quantile(here, _QUANTILES[which])
    if not added:
        return value
    there = sorted(_TIMES[what](_samples(legs, DIRECT)))
    return value - quantile(there, _QUANTILES[which]) if there else None


def to_json(summary: Summary) -> dict[str, Any]:
    """The run as JSON-able values."""

    def times(spread: Spread | None) -> dict[str, float] | None:
        if spread is None:
            return None
        return {
            "count": spread.count,
            **{k: round(getattr(spread, k), 3) for k in ("p50", "p90", "p99", "max")},
        }

    return {
        "met": summary.met,
        "objectives": {
            v.objective: {
                "limit": v.limit,
                "found": None if v.found is None else round(v.found, 6),
                "rounds": None if v.spread is None else [round(x, 6) for x in v.spread],
                "met": v.met,
            }
            for v in summary.verdicts
        },
        "requests": summary.requests,
        "errors": dict(summary.errors),
        "direct_errors": dict(summary.direct_errors),
        "models": dict(summary.models),
        "reasons": dict(summary.reasons),
        "decision_ms": times(summary.decision),
        "decision_read_ms": times(summary.read),
        "readings": dict(summary.readings),
        "first_content_ms": {via: times(s) for via, s in summary.first.items()},
        "gap_ms": {via: times(s) for via, s in summary.gap.items()},
        "load_generator_late_ms": times(summary.late),
        "cost_usd": summary.cost_usd,
        "cost_always_strong_usd": summary.cost_strong_usd,
        "answers_of_unknown_cost": summary.unpriced,
        "models_without_price": list(summary.without_price),
        "scenarios": {
            name: {what: times(s) for what, s in row.items()}
            for name, row in summary.scenarios.items()
        },
    }
