"""What an exhausted budget does to a request: refuse it, send it to the cheapest, or say so.

The kill switch comes before it, for that is an operator who takes the traffic into
their own hands. A request that names its model is refused or goes there: it has no
other.
"""

from __future__ import annotations

import math

from sidecar.config.snapshot import Snapshot
from sidecar.decide import price
from sidecar.decide.stages.question import Question
from sidecar.decide.view import Exhausted, View
from sidecar.errors import BudgetExhausted
from sidecar.types import Call, Decision, Step


def admit(exhausted: tuple[Exhausted, ...]) -> tuple[Step, ...]:
    """A step for each budget that is used up; :class:`BudgetExhausted` where one refuses."""
    for each in exhausted:
        if each.at_limit == "refuse":
            raise BudgetExhausted(
                f"The budget {each.budget!r} is used up: {each.why}. It renews in "
                f"{_span(each.renews_s)}.",
                retry_after_s=max(1, math.ceil(each.renews_s)),
            )
    return tuple(
        Step("budget", f"{each.budget} is used up: {each.why}; {_DOES[each.at_limit]}")
        for each in exhausted
    )


_DOES = {"cheapest": "the cheapest model answers", "warn": "it only warns"}


def saving(question: Question, call: Call, snapshot: Snapshot, view: View) -> Decision | None:
    """The route's cheapest capable model, where a budget that asks for it is used up."""
    if not any(each.at_limit == "cheapest" for each in view.exhausted):
        return None
    route = question.route
    able = {spec.name: spec for spec in question.capable}
    if route.default not in question.able.barred:
        able.setdefault(route.default, snapshot.models[route.default])
    if not able:
        return None
    costs = {name: price.expected(call, spec, None, view) for name, spec in able.items()}
    order = sorted(costs, key=lambda name: costs[name])
    return Decision(
        model=order[0],
        route=route.name,
        reason="budget",
        fallbacks=tuple(order[1:]),
        steps=(*question.steps, Step("budget", f"{order[0]} is the cheapest that can")),
    )


def _span(seconds: float) -> str:
    if seconds < 3600:
        return f"{math.ceil(seconds / 60)} minutes"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} hours"
    return f"{seconds / 86_400:.0f} days"
