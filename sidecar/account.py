"""What a request cost: counted, priced, and written down as one line.

The decision log is the evidence for every claim of savings: a JSON object a
request, with what was decided and why, what the upstream counted, what that
cost, and what the dearest model that could have served it would have cost for
the same tokens. It holds no prompt text, no answer text and no key.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from sidecar.clock import Clock
from sidecar.config.snapshot import ModelSpec, Snapshot
from sidecar.frozen import dataclass
from sidecar.shadow import WhatIf
from sidecar.state.learning import Scored
from sidecar.types import Call, Decision, Failure, Outcome

_PROMPT_HEAD: Final = 240  # characters of a prompt that the dashboard may show


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a request that is over: no body, and no text that was not asked for."""

    at: float  # when it ended, Unix time
    request_id: str
    dialect: str
    stream: bool
    tenant: str | None
    decision: Decision
    outcome: Outcome
    snapshot: Snapshot
    laps: dict[str, float]  # stage -> milliseconds
    prompt: str | None  # its head, where `dashboard.show_prompts` is on
    shadow: WhatIf | None = None
    flip: str | None = None  # up | down: the same prompt with a few words went elsewhere


def record(
    call: Call,
    decision: Decision,
    outcome: Outcome,
    snapshot: Snapshot,
    clock: Clock,
    *,
    shadow: WhatIf | None = None,
    flip: str | None = None,
) -> Record:
    """One request's record; cheap, for it is made for every one."""
    shown = snapshot.config.dashboard.show_prompts
    return Record(
        time.time(),
        call.request_id,
        call.dialect,
        call.stream,
        call.hints.tenant,
        decision,
        outcome,
        snapshot,
        clock.laps,
        call.prompt.user[:_PROMPT_HEAD] if shown else None,
        shadow,
        flip,
    )


def strongest(decision: Decision, snapshot: Snapshot) -> ModelSpec:
    """The dearest model among those the request could have gone to.

    That is what always-strong would have used: price is what an operator knows
    of strength before any router is there.
    """
    models = snapshot.models
    dearest = models[decision.model]
    for name in decision.fallbacks:
        model = models[name]
        if model.price.output > dearest.price.output:
            dearest = model
    return dearest


def entry(over: Record) -> bytes:
    """One line of the decision log, without its line end."""
    return orjson.dumps(said(over))


def said(over: Record) -> dict[str, Any]:
    """What the decision log and the dashboard say of a request."""
    decision, outcome, snapshot = over.decision, over.outcome, over.snapshot
    model = snapshot.models[outcome.model]
    strong = strongest(decision, snapshot)
    usage, reading = outcome.usage, decision.reading
    return {
        "time": datetime.fromtimestamp(over.at, UTC).isoformat(timespec="milliseconds"),
        "request_id": over.request_id,
        "dialect": over.dialect,
        "route": decision.route,
        "decided": decision.model,
        "reason": decision.reason,
        "model": outcome.model,
        "answered": outcome.reason,
        "status": outcome.status,
        "ended": outcome.ended,
        "stream": over.stream,
        "tenant": over.tenant,
        "arm": decision.arm,
        "flip": over.flip,
        "shadow": None if over.shadow is None else _what_if(over.shadow, over),
        "tokens": {
            "input": usage.input_tokens,
            "cached": usage.cached_tokens,
            "output": usage.output_tokens,
            "reasoning": usage.reasoning_tokens,
            **({} if usage.written_tokens is None else {"written": usage.written_tokens}),
        },
        "cost_usd": model.price.charged(usage),
        "strong": strong.name,
        "cost_strong_usd": strong.price.charged(usage),
        "failed": [_failed(f, snapshot) for f in outcome.failures],
        "candidates": [
            {"model": c.model, "p": _rounded(c.probability), "cost_usd": c.cost_usd}
            for c in decision.candidates
        ],
        "reading": None
        if reading is None
        else {
            "difficulty": _rounded(reading.difficulty),
            "task": reading.task,
            "domain": reading.domain,
            "tier": reading.tier,
            "ood": _rounded(reading.ood),
            "version": reading.version,
        },
        "ms": {
            "decision": round(_decision_ms(over.laps), 3),
            "first": _rounded(outcome.first_byte_ms),
            "total": round(outcome.total_ms, 3),
        },
    }


def _what_if(shadow: WhatIf, over: Record) -> dict[str, Any]:
    """What a shadow would have decided, and cost for the tokens that were used."""
    decision = shadow.decision
    if decision is None:
        return {"route": shadow.route, "model": None, "error": shadow.error}
    snapshot, reading = over.snapshot, decision.reading
    model = snapshot.models[decision.model]
    chance = None
    if reading is not None:
        (chance,) = snapshot.abilities.probabilities(reading, [model.ability])
    return {
        "route": shadow.route,
        "model": decision.model,
        "reason": decision.reason,
        "p": _rounded(chance),
        "cost_usd": model.price.charged(over.outcome.usage),
    }


def _failed(failure: Failure, snapshot: Snapshot) -> dict[str, Any]:
    """An attempt that came to nothing, with what it cost where that is known."""
    one: dict[str, Any] = {"model": failure.model, "why": failure.why}
    if failure.usage is not None:
        one["cost_usd"] = snapshot.models[failure.model].price.charged(failure.usage)
    return one


def feedback_entry(scored: Scored) -> bytes:
    """The line of a score that came for an answer, with what a report sums it by."""
    one = scored.answered
    said = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "kind": "feedback",
        "request_id": one.request_id,
        "route": one.route,
        "model": one.model,
        "tenant": one.tenant,
        "arm": one.arm,
        "p": _rounded(one.probability),
        "score": scored.score,
        "learnt": scored.learnt,
    }
    return orjson.dumps(said)


def decision_ms(clock: Clock) -> float:
    """From the received body to the decision: every stage before the upstream."""
    return _decision_ms(clock.laps)


def _decision_ms(laps: dict[str, float]) -> float:
    total = 0.0
    for stage, ms in laps.items():
        if stage != "upstream":
            total += ms
    return total


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
