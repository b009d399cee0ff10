"""The whole chain of reasons for one request, without sending it anywhere.

It leaves everything as it was: nothing is counted, and a bandit's draws for it come from
the request itself, by a digest of its body. So the same request is explained alike as long
as what is believed of the models is the same, and the requests that are served draw as
they would have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from hashlib import blake2b
from typing import Any, Final

from sidecar.classify.base import Classifier
from sidecar.clock import Clock
from sidecar.config.snapshot import Snapshot
from sidecar.decide import EMPTY, Question, View, choose, plan
from sidecar.errors import ClassifierError, ClassifierLate
from sidecar.features import features_of
from sidecar.parse import Received, parse
from sidecar.types import DOMAINS, TASKS, TIERS, Call, Decision, Features, Reading

_TRIES: Final = 4  # readings that may come too late for an explanation
_BETWEEN_S: Final = 0.05
_DRAWN: Final = "for this explanation, by its body; a request that is served draws anew"


def seed_of(body: bytes) -> int:
    """What the draws for a request's explanation come from."""
    return int.from_bytes(blake2b(body, digest_size=8).digest(), "little")


async def explain(
    received: Received,
    snapshot: Snapshot,
    classifier: Classifier,
    look: Callable[[Call, Snapshot], View] | None = None,
    recall: Callable[[Features], Reading | None] | None = None,
) -> dict[str, Any]:
    """Decide as a request would be decided, and tell all of it, as JSON-able values.

    ``look`` gives what a request would know of the process's memory, and ``recall``
    what the decision cache would say for the encoder; neither may change anything.
    """
    clock = Clock()
    call = parse(received)
    features = features_of(call.prompt, claims=snapshot.config.classifier.reads_claims)
    clock.lap("parse")
    view = look(call, snapshot) if look else EMPTY
    decision = plan(call, features, snapshot, view)
    verdict: Reading | ClassifierError | None = recall(features) if recall else None
    late = 0
    if verdict is None:
        verdict, late = await _read(features, classifier)
    clock.lap("classify")
    if isinstance(decision, Question):
        decision = choose(decision, call, verdict, snapshot, view)
    clock.lap("decide")
    reading = verdict if isinstance(verdict, Reading) else None
    return {**_story(call, decision, reading, clock), **_drawn(decision, view), "late": late}


async def _read(
    features: Features, classifier: Classifier
) -> tuple[Reading | ClassifierError, int]:
    """What the classifier says, and how many readings before it came too late.

    A request that has none in time goes to its default; a person who asks for the reasons
    waits for another, and is told that a request would not have.
    """
    late = 0
    while True:
        try:
            return await classifier.classify(features), late
        except ClassifierLate as exc:
            late += 1
            if late == _TRIES:
                return exc, late
            await asyncio.sleep(_BETWEEN_S)
        except ClassifierError as exc:
            return exc, late


def _drawn(decision: Decision, view: View) -> dict[str, Any]:
    """What a bandit drew, where one decided."""
    explored = any(step.stage == "policy" and step.values[:1] == ("bandit",)
                   for step in decision.steps)  # fmt: skip
    if view.draws is None or decision.reading is None or not explored:
        return {}
    names = [candidate.model for candidate in decision.candidates]
    chances = view.draws.probabilities(decision.reading, names)
    said: Mapping[str, float] = dict(zip(names, chances or (), strict=False))
    return {"drawn": {"how": _DRAWN, "probabilities": {n: round(p, 4) for n, p in said.items()}}}


def _story(call: Call, decision: Decision, reading: Reading | None, clock: Clock) -> dict[str, Any]:
    return {
        "asked": call.model,
        "model": decision.model,
        "route": decision.route,
        "reason": decision.reason,
        "fallbacks": list(decision.fallbacks),
        "steps": [{"stage": step.stage, "verdict": step.verdict} for step in decision.steps],
        "candidates": [asdict(candidate) for candidate in decision.candidates],
        "needs": sorted(call.needs),
        "input_tokens_bound": call.input_tokens,
        "reading": _reading(reading),
        "timings_ms": {stage: round(ms, 3) for stage, ms in clock.laps.items()},
    }


def _reading(reading: Reading | None) -> dict[str, Any] | None:
    if reading is None:
        return None
    return {
        "difficulty": round(reading.difficulty, 4),
        "task": reading.task,
        "task_probs": _named(TASKS, reading.task_probs),
        "domain": reading.domain,
        "domain_probs": _named(DOMAINS, reading.domain_probs),
        "tier": reading.tier,
        "tier_probs": _named(TIERS, reading.tier_probs),
        "ood": round(reading.ood, 4),
        "output_tokens": reading.output_tokens,
        "demand": None if reading.demand is None else [round(z, 4) for z in reading.demand],
        "version": reading.version,
    }


def _named(labels: tuple[str, ...], probs: tuple[float, ...]) -> dict[str, float]:
    return {label: round(p, 4) for label, p in zip(labels, probs, strict=False)}
