"""What the dashboard asks for once a second: figures, health, the latest decisions.

With several workers every figure is of all of them together, and decisions are
theirs in the order in which they ended. The cursor says how far the page has
read each worker's ring; it is the page's to hand back and nobody's to read.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sidecar import __version__
from sidecar.config.snapshot import Snapshot
from sidecar.observe.metrics import Registry
from sidecar.reload import sources
from sidecar.runtime import Runtime

_CURSOR: Final = re.compile(r"([0-9a-f]{8}):(\d{1,15})")
_MOST: Final = 200  # decisions in one answer, whatever the number of workers


def worker(runtime: Runtime, seen: Mapping[str, int]) -> dict[str, Any]:
    """One worker's share of an answer, as JSON-able values."""
    recent = runtime.recent
    return {
        "ring": recent.name,
        "total": recent.total,
        "decisions": recent.since(seen.get(recent.name, 0)),
        "metrics": runtime.telemetry.dump(),
    }


def read_cursor(text: str) -> dict[str, int]:
    """How far each ring was read; what is no cursor reads as one that saw nothing."""
    return {ring: int(count) for ring, count in _CURSOR.findall(text[:4096])}


def live(
    runtime: Runtime, listen: str, seen: Mapping[str, int], others: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """The whole answer, from this worker and the shares of the ``others``."""
    shares = [worker(runtime, seen), *others]
    total = runtime.telemetry.registry.summed(share["metrics"] for share in shares[1:])
    decisions = sorted(
        (row for share in shares for row in share["decisions"]), key=lambda row: str(row["time"])
    )
    return {
        "now": time.time(),
        "cursor": "~".join(f"{share['ring']}:{share['total']}" for share in shares),
        "state": _state(runtime, listen, len(shares)),
        "figures": figures(total, runtime.snapshot),
        "upstreams": _upstreams(runtime, total),
        "decisions": decisions[-_MOST:],
    }


def _state(runtime: Runtime, listen: str, workers: int) -> dict[str, Any]:
    snapshot = runtime.snapshot
    return {
        "version": __version__,
        "mode": str(runtime.mode),
        "backend": runtime.classifier.name,
        "encoder": runtime.classifier.version,
        "deadline_ms": snapshot.config.classifier.deadline_ms,
        "kill_switch": runtime.pinned,
        "workers": workers,
        "listen": listen,
        "config": {"generation": snapshot.generation, "hash": snapshot.digest},
        "warnings": list(snapshot.warnings),
        "shows_prompts": snapshot.config.dashboard.show_prompts,
        "routes": [
            {"name": route.name, "policy": route.policy, "models": list(route.models)}
            for route in snapshot.routes.values()
        ],
    }


def figures(total: Registry, snapshot: Snapshot) -> dict[str, Any]:
    """Sums since the start, from the metrics: what Prometheus would be told."""
    answers = total.values("router_answers")
    stages = total.observed("router_stage_seconds").values()
    return {
        "started": total.values("router_start_time_seconds").get((), 0.0),
        "in_flight": _sum(total, "router_in_flight"),
        "queue": _sum(total, "router_classifier_queue"),
        "requests": _sum(total, "router_decisions"),
        "answers": _sum(total, "router_answers"),
        "failed": sum(
            count for (_, status, ended), count in answers.items() if _bad(status, ended)
        ),
        "hang_ups": sum(count for (_, _, ended), count in answers.items() if ended == "hang-up"),
        # a request that no candidate answered is a failed answer already
        "refused": sum(
            count
            for (_, code), count in total.values("router_refused").items()
            if not code.startswith("upstream_")
        ),
        "fallbacks": _sum(total, "router_fallbacks"),
        "attempts_failed": _sum(total, "router_attempts_failed"),
        "cost_usd": _sum(total, "router_cost_usd"),
        "cost_strong_usd": _sum(total, "router_cost_strong_usd"),
        "unknown_cost": _sum(total, "router_answers_of_unknown_cost"),
        "reasons": _by(total, "router_decisions", 2),
        "models": _models(total, snapshot),
        "decision": _histogram(total, "router_decision_seconds"),
        "stages": {
            stage: {"count": sum(counts), "sum_s": spent}
            for (stage,), (counts, spent) in stages.items()
        },
    }


def _bad(status: str, ended: str) -> bool:
    return ended in {"failed", "upstream-broken"} or status.startswith("5")


def _models(total: Registry, snapshot: Snapshot) -> list[dict[str, Any]]:
    """The configured models, the cheapest first, and what each of them did and cost."""
    answers, decided = _by(total, "router_answers", 0), _by(total, "router_decisions", 1)
    cost, strong = _by(total, "router_cost_usd", 1), _by(total, "router_cost_strong_usd", 1)
    tokens: dict[str, dict[str, float]] = defaultdict(dict)
    for (_, model, kind), count in total.values("router_tokens").items():
        tokens[model][kind] = tokens[model].get(kind, 0.0) + count
    return [
        {
            "name": spec.name,
            "upstream": spec.upstream.name,
            "price": {"input": spec.price.input, "output": spec.price.output},
            "decided": decided.get(spec.name, 0.0),
            "answers": answers.get(spec.name, 0.0),
            "cost_usd": cost.get(spec.name, 0.0),
            "cost_strong_usd": strong.get(spec.name, 0.0),
            "tokens": tokens[spec.name],
        }
        for spec in sorted(snapshot.models.values(), key=lambda m: (m.price.output, m.price.input))
    ]


def _upstreams(runtime: Runtime, total: Registry) -> list[dict[str, Any]]:
    rests, busy = total.values("router_breaker_open"), total.values("router_upstream_in_flight")
    return [
        {
            "name": spec.name,
            "url": spec.base_url,
            "resting": rests.get((spec.name, spec.base_url), 0.0),  # workers that leave it alone
            "in_flight": busy.get((spec.name, spec.base_url), 0.0),
        }
        for spec, _ in sources.replicas(runtime)
    ]


def _sum(total: Registry, name: str) -> float:
    return float(sum(total.values(name).values()))


def _by(total: Registry, name: str, label: int) -> dict[str, float]:
    """A counter's sums by one of its labels."""
    sums: dict[str, float] = {}
    for labels, value in total.values(name).items():
        sums[labels[label]] = sums.get(labels[label], 0.0) + value
    return sums


def _histogram(total: Registry, name: str) -> dict[str, Any]:
    """A histogram over all its labels: counts within each bound, the last one unbounded."""
    metric = total.observed(name)
    counts = [0] * (len(metric.bounds) + 1)
    spent = 0.0
    for each, seconds in metric.values().values():
        counts = [a + b for a, b in zip(counts, each, strict=True)]
        spent += seconds
    return {"bounds_s": list(metric.bounds), "counts": counts, "sum_s": spent}
