"""What a request cost: counted, priced, and written down as one line.

The decision log is the evidence for every claim of savings: a JSON object a
request, with what was decided and why, what the upstream counted, what that
cost, and what the dearest model that could have served it would have cost for
the same tokens. It holds no prompt text, no answer text and no key.
"""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from sidecar.clock import Clock
from sidecar.config.snapshot import ModelSpec, Snapshot
from sidecar.state.learning import Scored
from sidecar.types import Call, Decision, Outcome


def strongest(decision: Decision, snapshot: Snapshot) -> ModelSpec:
    """The dearest model among those the request could have gone to.

    That is what always-strong would have used: price is what an operator knows
    of strength before any router is there.
    """
    names = {decision.model, *decision.fallbacks}
    return max((snapshot.models[name] for name in names), key=lambda m: m.price.output)


def entry(
    call: Call, decision: Decision, outcome: Outcome, snapshot: Snapshot, clock: Clock
) -> bytes:
    """One line of the decision log, without its line end."""
    model = snapshot.models[outcome.model]
    strong = strongest(decision, snapshot)
    usage, reading = outcome.usage, decision.reading
    said = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": call.request_id,
        "dialect": call.dialect,
        "route": decision.route,
        "decided": decision.model,
        "reason": decision.reason,
        "model": outcome.model,
        "answered": outcome.reason,
        "status": outcome.status,
        "ended": outcome.ended,
        "stream": call.stream,
        "tenant": call.hints.tenant,
        "tokens": {
            "input": usage.input_tokens,
            "cached": usage.cached_tokens,
            "output": usage.output_tokens,
            "reasoning": usage.reasoning_tokens,
        },
        "cost_usd": model.price.charged(usage),
        "strong": strong.name,
        "cost_strong_usd": strong.price.charged(usage),
        "failed": [{"model": f.model, "why": f.why} for f in outcome.failures],
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
            "decision": round(decision_ms(clock), 3),
            "first": _rounded(outcome.first_byte_ms),
            "total": round(outcome.total_ms, 3),
        },
    }
    return orjson.dumps(said)


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
    return sum(ms for stage, ms in clock.laps.items() if stage != "upstream")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
