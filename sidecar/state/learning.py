"""The learning loop: answers are remembered, scores find them, abilities follow.

Each worker remembers what it answered (:mod:`sidecar.state.feedback`). The leader owns
what is believed (:mod:`sidecar.state.abilities_online`): scores reach it through the
admin port, what the other workers noticed it gathers, and what it learnt it gives to
them all. Abilities move only where the configuration asks for it, by ``learning`` or
by a route with the policy ``bandit``; a score is counted and logged in any case.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sidecar.config.schema import Learning as Settings
from sidecar.config.snapshot import RouteSpec, Snapshot
from sidecar.errors import trace
from sidecar.observe.metrics import Registry
from sidecar.state.abilities_online import Draws, Learner, restore, save
from sidecar.state.feedback import Answered, Demands, Rate, Recent, Regenerated, answered
from sidecar.types import Call, Decision, Outcome

log = logging.getLogger("sidecar.state.learning")

_EVERY_S: Final = 1.0  # between looks at what the other workers noticed
_SAVE_S: Final = 10.0
_MOST_NOTICED: Final = 1_000  # signals that wait to be gathered
_DEFAULTS: Final = Settings()

# Asks every other worker: keyword arguments in, their answers out.
Tell = Callable[..., Awaitable[list[dict[str, Any]]]]


class Learning:
    """What one worker knows of its answers, and what it believes of the models."""

    def __init__(
        self,
        snapshot: Snapshot,
        registry: Registry,
        adopt: Callable[[Callable[[Snapshot], Snapshot]], None],
        folder: Path,
        *,
        leads: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        config = snapshot.config
        self._adopt = adopt
        self._leads = leads
        self._now = now
        self._settings = config.learning or _DEFAULTS
        self._on = _asked_for(snapshot)
        self._learner = Learner(snapshot, self._settings.memory, self._settings.seed)
        self._saved = 0
        self._noticed: list[tuple[str, list[float]]] = []
        self.recent = Recent(config.feedback.keep, config.feedback.keep_s, now)
        self.rate = Rate(config.feedback.per_second, now)
        self._demands = Demands()
        self._regenerated = Regenerated(self._settings.regenerate_s, config.feedback.keep)
        self._scores = registry.histogram(
            "router_feedback_score",
            "Scores that came for answers, by the model that answered.",
            ("model",),
            (0.0, 0.25, 0.5, 0.75, 1.0),
        )
        self._regenerates = registry.counter(
            "router_regenerates",
            "Requests that asked anew what had just been answered, by the model of that answer.",
            ("model",),
        )
        registry.gauge(
            "router_learnt_scores",
            "The weight of all scores that moved a model's ability.",
            ("model",),
            alike=True,
            read=lambda: {(m,): self._learner.scores(m) for m in self._learner.models},
        )
        self._file = None
        if self._on and self._settings.file is not None:
            self._file = folder / self._settings.file  # an absolute one stays as it is
            restore(self._learner, self._file)
            self._saved = self._learner.revision

    # -- on the request path -----------------------------------------------------------

    def draws(self, route: str, snapshot: Snapshot, seed: int | None = None) -> Draws | None:
        """What one decision of a route that explores may know; by ``seed`` alone, where given."""
        spec = snapshot.routes.get(route)
        return self._learner.draws(seed=seed) if spec is not None and _explores(spec) else None

    def aside(self, snapshot: Snapshot) -> Draws | None:
        """What a decision that nobody acts on may know, where any route explores."""
        explores = any(map(_explores, snapshot.routes.values()))
        return self._learner.draws(heeded=False) if explores else None

    def remember(self, call: Call, decision: Decision, outcome: Outcome) -> None:
        """Keep what a later score needs, and notice what a repeated question says."""
        if outcome.status >= 300:
            return
        one = answered(call, decision, outcome, self._now(), self._demands)
        self.recent.add(one)
        if one.demand is None:
            return
        before = self._regenerated.notice(call, one)
        if before is None:
            return
        self._regenerates.add((before.model,))
        if self._on and before.demand is not None and len(self._noticed) < _MOST_NOTICED:
            self._noticed.append((before.model, before.demand.tolist()))

    # -- scores --------------------------------------------------------------------------

    async def score(self, request_id: str, score: float, tell: Tell) -> Scored:
        """Take one score (0..1) of a request that any worker answered.

        Raises TooManyRequests on a flood and NotFound for a request that no worker
        remembers. A request is learnt from once: a second score of it is counted only.
        """
        self.rate.take()
        one = self.recent.get(request_id)
        if one is None:
            one = _first(await tell(do="recall", request_id=request_id))
        if one is None:
            one = self.recent.find(request_id)  # which says why there is none
        self._scores.observe((one.model,), score)
        learnt, why = self._learn_from(one, score)
        one.scored = True
        return Scored(one, score, learnt, why)

    def _learn_from(self, one: Answered, score: float) -> tuple[bool, str]:
        if one.scored:
            return False, "it was scored before"
        if one.demand is None:
            return False, "its prompt was not read"
        if not self._on:
            return False, "learning is off: add a `learning` section, or the policy `bandit`"
        if not self._learner.learn(one.model, one.demand, score, 1.0):
            return False, f"{one.model} is no longer configured"
        self._adopt(self._learner.taught)
        return True, "the ability moved"

    def weight(self, model: str) -> float:
        """Of all scores that moved what is believed of ``model``."""
        return self._learner.scores(model)

    def recall(self, request_id: str) -> dict[str, Any] | None:
        """What this worker remembers of a request, for the leader, who scores it."""
        one = self.recent.get(request_id)
        if one is None:
            return None
        said = one.as_dict()
        one.scored = True
        return said

    # -- over workers, reloads and restarts ----------------------------------------------

    def reloaded(self, snapshot: Snapshot) -> Snapshot:
        """``snapshot`` with what was learnt of the models that it still has."""
        self._on = _asked_for(snapshot)
        self._learner.reloaded(snapshot)
        return self._learner.taught(snapshot) if self._on else snapshot

    def started(self) -> None:
        """Serve with what the file held."""
        if self._on:
            self._adopt(self._learner.taught)

    def gather(self) -> dict[str, Any]:
        """What this worker noticed since it was last asked, and which beliefs it has."""
        noticed, self._noticed = self._noticed, []
        return {"noticed": noticed, "revision": self._learner.revision}

    def told(self, beliefs: str) -> None:
        """Take over the leader's beliefs."""
        self._learner.load(beliefs.encode())
        self._adopt(self._learner.taught)

    async def run(self, tell: Tell) -> None:
        """The leader's work beside the requests, until it is cancelled."""
        saved_at = self._now()
        while True:
            await asyncio.sleep(_EVERY_S)
            if not self._on:
                continue
            try:
                await self._share(tell)
                if self._now() - saved_at >= _SAVE_S:
                    saved_at = self._now()
                    await self.save()
            except Exception as exc:  # learning may stop; requests may not
                log.error("learning failed: %s", trace(exc))

    async def _share(self, tell: Tell) -> None:
        answers = [*await tell(do="gather"), self.gather()]
        weight = self._settings.regenerate_weight
        moved = False
        for answer in answers:
            for model, demand in answer.get("noticed", ()):
                if weight:
                    moved = self._learner.learn(model, demand, 0.0, weight) or moved
        if moved:
            self._adopt(self._learner.taught)
        if any(a.get("revision", 0) != self._learner.revision for a in answers[:-1]):
            await tell(do="told", beliefs=self._learner.dump().decode())

    async def save(self) -> None:
        """Write what was learnt since the last time, off the event loop."""
        revision = self._learner.revision
        if not self._leads or self._file is None or revision == self._saved:
            return
        try:
            await asyncio.to_thread(save, self._learner.dump(), self._file)
        except OSError as exc:
            log.error("%s cannot be written (%s): what is learnt is not kept over a restart",
                      self._file, exc.strerror)  # fmt: skip
        else:
            self._saved = revision


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of one score."""

    answered: Answered
    score: float
    learnt: bool
    why: str


def _first(answers: list[dict[str, Any]]) -> Answered | None:
    found = [answer["answered"] for answer in answers if answer.get("answered")]
    return Answered.of(found[0]) if found else None


def _asked_for(snapshot: Snapshot) -> bool:
    explores = any(map(_explores, snapshot.routes.values()))
    return snapshot.config.learning is not None or explores


def _explores(route: RouteSpec) -> bool:
    return route.policy == "bandit" or any(arm.route.policy == "bandit" for arm in route.arms)
