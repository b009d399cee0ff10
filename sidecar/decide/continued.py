"""A request that goes on with an answer that its upstream keeps.

The Responses API lets a request name the answer before it (``previous_response_id``)
instead of sending the conversation again. Only the account and the address that gave
that answer know it: anywhere else the request is a 400. So it goes back there, before
any rule, and its fallbacks are the route's other models at that very address.

Where the answer is not known here, or no model of the route that can serve the request
is at its address, the request is decided as any other, and what the upstream says of
the id is the caller's to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sidecar.config.snapshot import ModelSpec, Snapshot
from sidecar.decide.stages.question import Question
from sidecar.types import Call, Decision, Place, Step


def kept_by(place: Place | None, model: ModelSpec) -> Place | None:
    """``place`` where ``model`` can be asked there, else None."""
    if place is None or not any(place.is_at(spec.name, spec.base_url) for spec in model.replicas):
        return None
    return place


def grown(call: Call, place: Place | None) -> Call:
    """``call`` with the tokens of the conversation that the upstream keeps for it."""
    if place is None:
        return call
    return replace(call, input_tokens=call.input_tokens + place.tokens)


def settle(question: Question, place: Place | None, snapshot: Snapshot) -> Decision | Question:
    """The decision to go where the answer before was given, or the question one step on."""
    if place is None:
        why = "the answer that it goes on with is not known here: decided as any other"
        return question.after(Step("session", why))
    able = _able(question, place, snapshot.models)
    if not able:
        why = "no model of the route can serve it where the answer that it goes on with is kept"
        return question.after(Step("session", why))
    own = place.model if place.model in able else able[0]
    gave = "it gave" if own == place.model else f"{place.model} gave at the same address"
    step = Step("session", f"goes to {own}: it goes on with an answer that {gave}")
    return Decision(
        model=own,
        route=question.route.name,
        reason="session",
        fallbacks=tuple(name for name in able if name != own),
        steps=(*question.steps, step),
        at=place,
    )


def _able(question: Question, place: Place, models: Mapping[str, ModelSpec]) -> list[str]:
    """The route's models that can serve the request and are at ``place``, in its order."""
    route = question.route
    names = dict.fromkeys((*route.models, *(rule.model for rule in route.rules), route.default))
    return [
        name for name in names if name not in question.able.barred and kept_by(place, models[name])
    ]
