"""What every request adds to the metrics.

Label values come from the configuration and from the words of the contract
only, never from a request: what a caller sends cannot grow the label sets. No
prompt text and no key comes near this module. A part with figures of its own
makes its metrics in :attr:`Telemetry.registry`; docs/metrics.md says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sidecar.account import strongest
from sidecar.clock import Clock
from sidecar.config.snapshot import Snapshot
from sidecar.observe.metrics import Bins, Labels, Registry, Sum
from sidecar.types import Decision, Failure, Outcome

_DECISION_BOUNDS: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25,
)  # fmt: skip
_CONTENT_BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class _Cells(NamedTuple):
    """Where answers that went one way are counted, looked up once."""

    answers: Sum
    request_time: Bins
    first_content: Bins
    input: Sum
    cached: Sum
    output: Sum
    cost: Sum
    cost_strong: Sum


class Telemetry:
    """The metrics of one process, made with the runtime and gone with it."""

    def __init__(self) -> None:
        self.registry = made = Registry()
        self._decisions = made.counter(
            "router_decisions",
            "Decisions, by route, model and reason.",
            ("route", "model", "reason"),
        )
        self._decision_time = made.histogram(
            "router_decision_seconds",
            "From the received body to the decision, by classifier backend.",
            ("backend",),
            _DECISION_BOUNDS,
        )
        self._stage_time = made.histogram(
            "router_stage_seconds",
            "Time in each stage before the upstream is asked.",
            ("stage",),
            _DECISION_BOUNDS,
        )
        self._answers = made.counter(
            "router_answers",
            "Answers, by model, HTTP status and how they ended.",
            ("model", "status", "ended"),
        )
        self._first_content = made.histogram(
            "router_first_content_seconds",
            "From the request to the upstream's first content.",
            ("model",),
            _CONTENT_BOUNDS,
        )
        self._request_time = made.histogram(
            "router_request_seconds",
            "From the received body to the last byte of the answer.",
            ("route",),
            _CONTENT_BOUNDS,
        )
        self._fallbacks = made.counter(
            "router_fallbacks", "Answers that a fallback gave.", ("model",)
        )
        self._attempts_failed = made.counter(
            "router_attempts_failed",
            "Attempts at a model that gave nothing to pass on.",
            ("model",),
        )
        self._tokens = made.counter(
            "router_tokens",
            "Tokens as the upstreams counted them.",
            ("route", "model", "kind"),
        )
        self._cost = made.counter(
            "router_cost_usd",
            "USD at the configured prices, for answers whose tokens are known.",
            ("route", "model"),
        )
        self._cost_strong = made.counter(
            "router_cost_strong_usd",
            "USD that the dearest candidate would have cost for the same answers.",
            ("route", "model"),
        )
        self._unknown = made.counter(
            "router_answers_of_unknown_cost",
            "Whole answers whose upstream did not count tokens.",
            ("model",),
        )
        self._refused = made.counter(
            "router_refused",
            "Requests the sidecar answered itself, by status and code.",
            ("status", "code"),
        )
        self.reloads = made.counter(
            "router_reloads", "Reloads that were taken or refused.", ("result",)
        )
        for result in ("taken", "refused"):  # a rise from nothing would be no rise to Prometheus
            self.reloads.add((result,), 0)
        self.in_flight = made.gauge("router_in_flight", "Requests being answered.")
        self.config_generation = made.gauge(
            "router_config_generation", "Reloads and new prices taken, from 1.", alike=True
        )
        self.pinned = made.gauge(
            "router_kill_switch", "1 while every request goes to one model.", alike=True
        )

        # what a request adds to, by all that tells it from another; as bounded as labels are
        self._decided: dict[Labels, Sum] = {}
        self._stages: dict[str, Bins] = {}
        self._answered: dict[tuple[str, str, int, str], _Cells] = {}

    def decided(self, decision: Decision, clock: Clock, backend: str) -> None:
        """Count one decision and where its time went."""
        made = (decision.route, decision.model, decision.reason)
        cell = self._decided.get(made)
        if cell is None:
            cell = self._decided[made] = self._decisions.of(made)
        cell.value += 1
        total = 0.0
        stages = self._stages
        for stage, ms in clock.laps.items():
            total += ms
            bins = stages.get(stage)
            if bins is None:
                bins = stages[stage] = self._stage_time.of((stage,))
            bins.observe(ms / 1e3)
        self._decision_time.observe((backend,), total / 1e3)

    def account(self, decision: Decision, outcome: Outcome, snapshot: Snapshot) -> None:
        """Count one answer, its tokens and its price."""
        model, route, usage = outcome.model, decision.route, outcome.usage
        went = (route, model, outcome.status, outcome.ended)
        cells = self._answered.get(went)
        if cells is None:
            cells = self._answered[went] = self._cells(*went)
        cells.answers.value += 1
        cells.request_time.observe(outcome.total_ms / 1e3)
        if outcome.first_byte_ms is not None:
            cells.first_content.observe(outcome.first_byte_ms / 1e3)
        if outcome.attempts > 1:
            self._fallbacks.add((model,))
        for failure in outcome.failures:
            self._failed(route, failure, snapshot)
        if usage.input_tokens:
            cells.input.value += usage.input_tokens
        if usage.cached_tokens:
            cells.cached.value += usage.cached_tokens
        if usage.output_tokens:
            cells.output.value += usage.output_tokens
        cost = snapshot.models[model].price.charged(usage)
        if cost is not None:
            strong = strongest(decision, snapshot)
            dearest = cost if strong.name == model else strong.price.charged(usage)
            cells.cost.value += cost
            cells.cost_strong.value += cost if dearest is None else dearest
        elif outcome.ended == "complete":
            self._unknown.add((model,))

    def _cells(self, route: str, model: str, status: int, ended: str) -> _Cells:
        tokens = self._tokens
        return _Cells(
            self._answers.of((model, str(status), ended)),
            self._request_time.of((route,)),
            self._first_content.of((model,)),
            tokens.of((route, model, "input")),
            tokens.of((route, model, "cached")),
            tokens.of((route, model, "output")),
            self._cost.of((route, model)),
            self._cost_strong.of((route, model)),
        )

    def _failed(self, route: str, failure: Failure, snapshot: Snapshot) -> None:
        self._attempts_failed.add((failure.model,))
        wasted = failure.usage and snapshot.models[failure.model].price.charged(failure.usage)
        if wasted:
            self._cost.add((route, failure.model), wasted)

    def refused(self, status: int, code: str | None) -> None:
        """Count a request that the sidecar answered with an error of its own."""
        self._refused.add((str(status), code or "none"))

    def dump(self) -> dict[str, Any]:
        """Every value, JSON-able, for :meth:`exposition` in another process."""
        return self.registry.dump()

    def exposition(self, others: Sequence[dict[str, Any]] = ()) -> bytes:
        """The text that Prometheus scrapes, the dumps of other workers added."""
        return self.registry.summed(others).exposition()
