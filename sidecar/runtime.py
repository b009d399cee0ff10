"""What lives as long as the process: built in one place, held in one object.

Requests read it; only the admin port and the signal handler change it, and
only by replacing a whole value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import Final

from sidecar.classify.base import Classifier
from sidecar.clock import Deadlines
from sidecar.config import loader
from sidecar.config.prices import repriced
from sidecar.config.snapshot import Price, Snapshot
from sidecar.decide.experiment import arm_of
from sidecar.decide.view import EMPTY, View
from sidecar.dispatch import Dispatcher
from sidecar.encoder.abilities import Catalogue
from sidecar.errors import ConfigError, NotFound
from sidecar.observe.decision_log import Sink
from sidecar.observe.recent import Recent
from sidecar.observe.tracing import Tracer
from sidecar.state.budgets import Ledger
from sidecar.state.decision_cache import DecisionCache
from sidecar.state.drift import Monitor
from sidecar.state.learning import Learning
from sidecar.state.meter import Meter
from sidecar.state.observed import Observations
from sidecar.state.places import Places
from sidecar.state.response_cache import ResponseCache
from sidecar.state.sessions import Sessions
from sidecar.state.suspicion import Suspicion
from sidecar.state.windows import Windows
from sidecar.telemetry import Telemetry
from sidecar.types import Call, Decision, Features, Outcome, Reading
from sidecar.upstream.base import Upstreams
from sidecar.upstream.health import Health

# What is read when the process starts, and never again.
_FIXED: Final = (
    "listen",
    "admin",
    "probes",
    "classifier",
    "upstream_client",
    "decision_log",
    "log",
    "tracing",
    "feedback",
    "learning",
    "drift",
    "spending",
    "decision_cache.common",
    "limits.max_header_kb",
    "limits.header_timeout_s",
    "limits.keepalive_s",
)


class Mode(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


@dataclass(slots=True)
class Runtime:
    """The sidecar's state."""

    snapshot: Snapshot
    config_file: Path
    classifier: Classifier
    abilities: Catalogue
    upstreams: Upstreams
    health: Health = field(default_factory=Health)
    deadlines: Deadlines = field(default_factory=Deadlines)
    dispatcher: Dispatcher = field(init=False)
    decisions: Sink | None = None  # the decision log, where one is configured
    tracer: Tracer | None = None  # where tracing is configured
    recent: Recent = field(default_factory=Recent)  # the latest decisions, for the dashboard
    telemetry: Telemetry = field(default_factory=Telemetry)
    mode: Mode = Mode.STARTING
    observations: Observations = field(default_factory=Observations)
    windows: Windows = field(init=False)  # of the latest prompts
    pinned: str | None = None  # the kill switch's model, while it is on
    learning: Learning | None = None  # scores of answers, and abilities that follow them
    budgets: Ledger | None = None  # what was spent, where anything limits it
    suspicion: Suspicion = field(init=False)
    drift: Monitor = field(init=False)
    readings: DecisionCache = field(init=False)
    sessions: Sessions = field(init=False)
    places: Places = field(init=False)
    answers: ResponseCache = field(init=False)

    def __post_init__(self) -> None:
        self.windows = Windows(claims=self.snapshot.config.classifier.reads_claims)
        cache = self.snapshot.config.decision_cache
        meter = Meter(self.telemetry.registry)
        self.readings = DecisionCache(cache.entries, cache.ttl_s, near=cache.near, meter=meter)
        self.answers = ResponseCache(meter)
        talk = self.snapshot.config.sessions
        self.sessions = Sessions(talk.entries, talk.ttl_s, registry=meter.registry)
        self.places = Places(talk.entries, talk.responses_ttl_s, registry=meter.registry)
        self.telemetry.config_generation.value = float(self.snapshot.generation)
        self.suspicion = Suspicion(meter.registry)
        self.drift = Monitor(
            self.snapshot.config.drift,
            meter.registry,
            self.config_file.parent,
            self.abilities.encoder if self.abilities else "",
        )
        self.dispatcher = Dispatcher(self.upstreams, self.health, self.deadlines)

    def view(self, call: Call, snapshot: Snapshot, *, seed: int | None = None) -> View:
        """What the decision on ``call`` may know of what came before it.

        With a ``seed`` for what is drawn it is only looked at, and leaves everything as it was.
        """
        acted_on = seed is None
        exhausted = (
            self.budgets.exhausted(call, snapshot, acted_on=acted_on) if self.budgets else ()
        )
        route = snapshot.routes.get(call.model)
        if route is None:  # nothing else is asked where the model is named
            place = self.places.look(call, used=acted_on)
            if self.pinned is None and place is None and not exhausted:
                return EMPTY
            return View(pinned=self.pinned, exhausted=exhausted, place=place)
        now, learning = time.time(), self.learning
        held = self.sessions.look(call, snapshot, used=acted_on)
        return View(
            pinned=self.pinned,
            now=now,
            observed=self.observations.seen(now),
            lengths=self.observations.lengths(now),
            draws=learning.draws(call.model, snapshot, seed) if learning else None,
            held=held,
            cached_tokens=held.cached if held else {},
            arm=arm_of(route, call),
            place=self.places.look(call, used=acted_on),
            exhausted=exhausted,
        )

    def aside(self) -> View:
        """What a decision that nobody acts on may know: the world, and nothing of the caller."""
        now, seen = time.time(), self.observations
        draws = self.learning.aside(self.snapshot) if self.learning else None
        return View(now=now, observed=seen.seen(now), lengths=seen.lengths(now), draws=draws)

    def recall(self, features: Features) -> Reading | None:
        """What the decision cache would say of a prompt, without its being counted."""
        version = self.classifier.version
        return self.readings.look(features.window, version, count=False)

    def remember(
        self, call: Call, decision: Decision, outcome: Outcome, snapshot: Snapshot
    ) -> None:
        """Tell every kind of memory how a request went."""
        self.observations.remember(call, decision, outcome, snapshot.models, time.time())
        if self.learning is not None:
            self.learning.remember(call, decision, outcome)
        if outcome.answer_id or call.continues is not None:
            self.places.remember(call, decision, outcome)
        if call.model in snapshot.routes:
            self.sessions.remember(call, decision, outcome, snapshot)
            self.drift.remember(call, decision)
        if self.budgets is not None:
            self.budgets.charge(call, decision, outcome, snapshot)

    def reprice(self, sheet: Mapping[str, Price]) -> None:
        """Swap in new prices; requests in flight keep those they began with."""
        self.snapshot = repriced(self.snapshot, sheet)
        self.telemetry.config_generation.value = float(self.snapshot.generation)

    def adopt(self, change: Callable[[Snapshot], Snapshot]) -> None:
        """Decide by the changed snapshot from the next request on: abilities that moved."""
        self.snapshot = change(self.snapshot)

    def pin(self, model: str) -> None:
        """Send every request to ``model``; :class:`NotFound` if it is not configured."""
        if model not in self.snapshot.models:
            known = ", ".join(sorted(self.snapshot.models))
            raise NotFound(
                f"No model is called {model!r}. Use one of: {known}.", code="model_not_found"
            )
        self.pinned = model
        self.telemetry.pinned.value = 1.0

    def unpin(self) -> None:
        self.pinned = None
        self.telemetry.pinned.value = 0.0

    def reload(self) -> Snapshot:
        """Read the configuration again and swap it in whole.

        :class:`ConfigError` with every fault keeps the last good one, as does a
        change of what only a restart can change.
        """
        old = self.snapshot
        new = loader.load(
            self.config_file, self.abilities, generation=old.generation + 1, before=old
        )
        fixed = [
            f"{self.config_file}: {key}: changing it needs a restart"
            for key in _FIXED
            if attrgetter(key)(old.config) != attrgetter(key)(new.config)
        ]
        if self.pinned is not None and self.pinned not in new.models:
            fixed.append(f"models: the kill switch names {self.pinned!r}, which is gone")
        if new.config.budgets and self.budgets is None:
            fixed.append(f"{self.config_file}: budgets: the first one needs a restart")
        if fixed:
            raise ConfigError(fixed)
        for spec in new.upstreams():
            try:
                self.upstreams.prepare(spec)
            except OSError as exc:
                where = f"{self.config_file}: upstreams.{spec.name}.ca_file"
                raise ConfigError([f"{where}: cannot be used: {exc}"]) from None
        self.snapshot = self.learning.reloaded(new) if self.learning else new
        cache = new.config.decision_cache
        self.readings.bound(cache.entries, cache.ttl_s, near=cache.near)
        if new.digest != old.digest:
            self.answers.clear()
        talk = new.config.sessions
        self.sessions.bound(talk.entries, talk.ttl_s)
        self.places.bound(talk.entries, talk.responses_ttl_s)
        self.telemetry.config_generation.value = float(new.generation)
        return new
