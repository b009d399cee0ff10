"""Counts and times, for Prometheus and for the log.

Label values come from the configuration and from the words of the contract
only, never from a request: what a caller sends cannot grow the label sets. No
prompt text and no key comes near this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from sidecar.clock import Clock
from sidecar.config.snapshot import Snapshot
from sidecar.metrics import Collector, Counter, Gauge, Histogram
from sidecar.types import Decision, Outcome

_DECISION_BOUNDS: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25,
)  # fmt: skip
_CONTENT_BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Telemetry:
    """One registry, made with the runtime and gone with it."""

    def __init__(self) -> None:
        self._decisions = Counter(
            "router_decisions",
            "Decisions, by route, model and reason.",
            ("route", "model", "reason"),
        )
        self._decision_time = Histogram(
            "router_decision_seconds",
            "From the received body to the decision, by classifier backend.",
            ("backend",),
            _DECISION_BOUNDS,
        )
        self._stage_time = Histogram(
            "router_stage_seconds",
            "Time in each stage before the upstream is asked.",
            ("stage",),
            _DECISION_BOUNDS,
        )
        self._answers = Counter(
            "router_answers",
            "Answers, by model, HTTP status and how they ended.",
            ("model", "status", "ended"),
        )
        self._first_content = Histogram(
            "router_first_content_seconds",
            "From the request to the upstream's first content.",
            ("model",),
            _CONTENT_BOUNDS,
        )
        self._fallbacks = Counter("router_fallbacks", "Answers that a fallback gave.", ("model",))
        self._tokens = Counter(
            "router_tokens",
            "Tokens as the upstreams counted them.",
            ("route", "model", "kind"),
        )
        self._cost = Counter(
            "router_cost_usd",
            "USD at the configured prices, for answers whose tokens are known.",
            ("route", "model"),
        )
        self._unknown = Counter(
            "router_answers_of_unknown_cost",
            "Whole answers whose upstream did not count tokens.",
            ("model",),
        )
        self._refused = Counter(
            "router_refused",
            "Requests the sidecar answered itself, by status and code.",
            ("status", "code"),
        )
        self.in_flight = Gauge("router_in_flight", "Requests being answered.")
        self.config_generation = Gauge(
            "router_config_generation", "Reloads taken, from 1.", alike=True
        )
        self.pinned = Gauge(
            "router_kill_switch", "1 while every request goes to one model.", alike=True
        )
        self._registry = CollectorRegistry()
        self._metrics = {
            m.name: m for m in vars(self).values() if isinstance(m, Counter | Gauge | Histogram)
        }
        self._registry.register(Collector(self._metrics.values()))

    def decided(self, decision: Decision, clock: Clock, backend: str) -> None:
        """Count one decision and where its time went."""
        self._decisions.add((decision.route, decision.model, decision.reason))
        total = 0.0
        for stage, ms in clock.laps.items():
            total += ms
            self._stage_time.observe((stage,), ms / 1e3)
        self._decision_time.observe((backend,), total / 1e3)

    def account(self, decision: Decision, outcome: Outcome, snapshot: Snapshot) -> None:
        """Count one answer, its tokens and its price."""
        model, usage = outcome.model, outcome.usage
        self._answers.add((model, str(outcome.status), outcome.ended))
        if outcome.first_byte_ms is not None:
            self._first_content.observe((model,), outcome.first_byte_ms / 1e3)
        if outcome.attempts > 1:
            self._fallbacks.add((model,))
        for kind, count in (
            ("input", usage.input_tokens),
            ("cached", usage.cached_tokens),
            ("output", usage.output_tokens),
        ):
            if count:
                self._tokens.add((decision.route, model, kind), count)
        cost = snapshot.models[model].price.charged(usage)
        if cost is not None:
            self._cost.add((decision.route, model), cost)
        elif outcome.ended == "complete":
            self._unknown.add((model,))

    def refused(self, status: int, code: str | None) -> None:
        """Count a request that the sidecar answered with an error of its own."""
        self._refused.add((str(status), code or "none"))

    def dump(self) -> dict[str, Any]:
        """Every count, as JSON-able values, for :meth:`exposition` in another process."""
        return {name: metric.dump() for name, metric in self._metrics.items()}

    def exposition(self, others: Sequence[dict[str, Any]] = ()) -> bytes:
        """The text that Prometheus scrapes, the dumps of other workers added."""
        summed = Telemetry()
        for dump in (self.dump(), *others):
            for name, values in dump.items():
                summed._metrics[name].absorb(values)
        return generate_latest(summed._registry)
