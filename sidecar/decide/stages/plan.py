"""What is settled before anything reads the prompt."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

from sidecar.config.snapshot import RouteSpec, Snapshot
from sidecar.decide import capability, continued, experiment, rules
from sidecar.decide.able import table_of
from sidecar.decide.stages import budget
from sidecar.decide.stages.question import NO_ROUTE, Question, by_rule, fall_back, prefer
from sidecar.decide.view import EMPTY, View
from sidecar.errors import NotFound
from sidecar.types import Call, Decision, Features, Step

_CLAIMS: Final = "left out of what is read: %d about the router, models or how hard this is"


def plan(
    call: Call, features: Features, snapshot: Snapshot, view: View = EMPTY
) -> Decision | Question:
    """Decide what needs no reading of the prompt, or say what is left to decide.

    Raises :class:`NotFound` for an unknown model and
    :class:`~sidecar.errors.NoCapableModel` where nothing can serve the call.
    """
    route = snapshot.routes.get(call.model)
    if route is None and call.model not in snapshot.models:
        raise unknown(call.model, snapshot)
    route_name = route.name if route else NO_ROUTE
    call, place = continued.grown(call, view.place), view.place
    if view.pinned is not None:
        model = snapshot.models[view.pinned]
        capability.require(call, [model])
        step = Step("kill-switch", f"every request goes to {model.name}")
        at = continued.kept_by(place, model)
        return Decision(model.name, route_name, "kill-switch", steps=(step,), at=at)
    if route is None:
        model = snapshot.models[call.model]
        noted = budget.admit(view.exhausted)
        capability.require(call, [model])
        named = _named(model.name)
        at = continued.kept_by(place, model)
        if not noted and at is None:
            return named
        return replace(named, steps=(*noted, *named.steps), at=at)
    return _plan_route(call, features, snapshot, experiment.under(route, view.arm), view)


def unknown(name: str, snapshot: Snapshot) -> NotFound:
    """The answer to who asks for ``name``, which nothing is called."""
    known = sorted([*snapshot.routes, *snapshot.models])
    return NotFound(
        f"No model or route is called {name!r}. Use one of: {', '.join(known)}.",
        param="model",
        code="model_not_found",
    )


@lru_cache
def _named(model: str) -> Decision:
    """The decision of every request that names ``model``."""
    return Decision(
        model, NO_ROUTE, "explicit", steps=(Step("explicit", f"the request names {model}"),)
    )


def _plan_route(
    call: Call, features: Features, snapshot: Snapshot, route: RouteSpec, view: View
) -> Decision | Question:
    table = table_of(route, snapshot)
    able = table.able(call)
    if able.none:
        capability.require(call, table.everyone)
    steps: tuple[Step, ...] = (able.step or table.said(call, able),)
    if features.claims:
        steps = (*steps, Step("claims", _CLAIMS, (features.claims,)))
    if view.exhausted or view.arm:
        if view.arm:
            steps = (Step("split", f"the arm {view.arm}"), *steps)
        steps = (*budget.admit(view.exhausted), *steps)
    question = Question(route, able, features.empty, steps)
    if call.continues is not None:
        settled = continued.settle(question, view.place, snapshot)
        if isinstance(settled, Decision):
            return settled
        question = settled
    held = view.held
    if held is not None and call.prompt.in_tool_loop and held.model in able.names:
        # half an action: another model may not know the calls that this one has made
        step = Step("session", f"stays with {held.model}: inside a tool loop")
        return prefer(question, held.model, "session", step)
    saving = budget.saving(question, call, snapshot, view) if view.exhausted else None
    if saving is not None:
        return saving
    if table.before:
        rule = rules.first(table.before, rules.Facts(call, None, view), able.barred)
        if rule is not None:
            return by_rule(question, rule, snapshot)
    if table.after and not features.empty:
        return question
    return without_reading(question, snapshot) or question


def without_reading(question: Question, snapshot: Snapshot) -> Decision | None:
    """The decision where no reading could change it."""
    route, able = question.route, question.able.names
    if route.policy == "fixed":
        return fall_back(question, snapshot, "policy", "fixed: the default")
    if route.policy == "rules":
        return fall_back(question, snapshot, "default", "no rule holds")
    if not able:
        why = "only a model outside the policy's list is left"
        return fall_back(question, snapshot, "capability", why)
    if len(able) == 1:
        reason = "capability" if len(route.models) > 1 else "policy"
        return prefer(question, able[0], reason, Step(reason, "one model is left"))
    if question.empty:
        return fall_back(question, snapshot, "default", "the request has no text to read")
    return None
