"""The stages of a decision, in their order.

Kill switch, explicit model, capability mask, rules, then (with a reading) the
rules that ask for one and the route's policy. Each stage leaves a step in the
chain of reasons, whether it decided or not.

A stage can only narrow or choose among the *capable* candidates: what a request
needs (tools, a schema, vision, room in the context) is a hard filter on every
path, the kill switch and the fallbacks included, because an answer without it
is not a cheaper answer but a wrong one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sidecar.config.snapshot import Abilities, ModelSpec, RouteSpec, RuleSpec, Snapshot
from sidecar.decide import capability, price, rules
from sidecar.decide.policies import POLICIES
from sidecar.decide.view import EMPTY, View
from sidecar.errors import BadRequest, ClassifierError, NotFound
from sidecar.types import Call, Candidate, Decision, Features, Reading, Step

NO_ROUTE: Final = "-"
_STAGE_OF: Final = {"deadline": "classifier", "classifier-down": "classifier"}


@dataclass(frozen=True, slots=True)
class Question:
    """What is left to decide once everything that needs no reading is settled."""

    route: RouteSpec
    capable: tuple[ModelSpec, ...]  # of the route, in its order
    barred: frozenset[str]  # models it names, rules and default included, that lack something
    empty: bool  # there is no text to read
    steps: tuple[Step, ...]


def plan(
    call: Call, features: Features, snapshot: Snapshot, view: View = EMPTY
) -> Decision | Question:
    """Decide what needs no reading of the prompt, or say what is left to decide.

    Raises :class:`NotFound` for an unknown model and
    :class:`~sidecar.errors.NoCapableModel` where nothing can serve the call.
    """
    route = snapshot.routes.get(call.model)
    if route is None and call.model not in snapshot.models:
        known = sorted([*snapshot.routes, *snapshot.models])
        raise NotFound(
            f"No model or route is called {call.model!r}. Use one of: {', '.join(known)}.",
            param="model",
            code="model_not_found",
        )
    route_name = route.name if route else NO_ROUTE
    if view.pinned is not None:
        model = snapshot.models[view.pinned]
        capability.require(call, [model])
        step = Step("kill-switch", f"every request goes to {model.name}")
        return Decision(model.name, route_name, "kill-switch", steps=(step,))
    if route is None:
        model = snapshot.models[call.model]
        capability.require(call, [model])
        step = Step("explicit", f"the request names {model.name}")
        return Decision(model.name, NO_ROUTE, "explicit", steps=(step,))
    return _plan_route(call, features, snapshot, route)


def _plan_route(
    call: Call, features: Features, snapshot: Snapshot, route: RouteSpec
) -> Decision | Question:
    names = (*route.models, *(r.model for r in route.rules), route.default)
    everyone = [snapshot.models[name] for name in dict.fromkeys(names)]
    lacks = capability.require(call, everyone)
    said = "; ".join(f"{name} has no {', '.join(lack)}" for name, lack in lacks.items())
    question = Question(
        route=route,
        capable=tuple(snapshot.models[n] for n in route.models if n not in lacks),
        barred=frozenset(lacks),
        empty=features.empty,
        steps=(Step("capability", said or "every model can"),),
    )
    rule = rules.first(route.rules, call, None, question.barred)
    if rule is not None:
        return _by_rule(question, rule)
    if not features.empty and any(rule.needs_reading for rule in route.rules):
        return question
    return _without_reading(question, snapshot) or question


def _without_reading(question: Question, snapshot: Snapshot) -> Decision | None:
    """The decision where no reading could change it."""
    route, able = question.route, question.capable
    if route.policy == "fixed":
        return fall_back(question, snapshot, "policy", "fixed: the default")
    if not able:
        why = "only a model outside the policy's list is left"
        return fall_back(question, snapshot, "capability", why)
    if len(able) == 1:
        reason = "capability" if len(route.models) > 1 else "policy"
        return _prefer(question, able[0].name, reason, Step(reason, "one model is left"))
    if question.empty:
        return fall_back(question, snapshot, "default", "the request has no text to read")
    return None


def choose(
    question: Question,
    call: Call,
    verdict: Reading | ClassifierError,
    snapshot: Snapshot,
    view: View = EMPTY,
) -> Decision:
    """Decide with a reading, or with the reason why there is none."""
    route = question.route
    if isinstance(verdict, ClassifierError):
        return fall_back(question, snapshot, verdict.reason, str(verdict))
    question = replace(question, steps=(*question.steps, Step("classifier", _say(verdict))))
    rule = rules.first(route.rules, call, verdict, question.barred)
    settled = _by_rule(question, rule) if rule else _without_reading(question, snapshot)
    if settled is not None:
        return replace(settled, reading=verdict)
    return _by_policy(question, call, verdict, snapshot.abilities)


def _by_policy(question: Question, call: Call, reading: Reading, abilities: Abilities) -> Decision:
    """The route's policy over its capable models, within what the caller would pay."""
    route, able = question.route, question.capable
    probabilities = abilities.probabilities(reading, [model.ability for model in able])
    candidates = tuple(
        Candidate(model.name, probability, price.expected(call, model, reading))
        for model, probability in zip(able, probabilities, strict=True)
    )
    affordable = _affordable(call, candidates)
    pick = POLICIES[route.policy]
    choice = pick(affordable, reading, route, call.hints.quality)
    reason, steps = "policy", question.steps
    if len(affordable) < len(candidates):
        free = pick(candidates, reading, route, call.hints.quality).order[0]
        if free != choice.order[0]:
            reason = "budget"
            steps = (*steps, Step("budget", f"{free} would cost more than was allowed"))
    ranked = {model.name for model in able}
    # A default that the policy ranked is where the policy put it, or was too dear.
    outside = route.default not in ranked and route.default not in question.barred
    return Decision(
        model=choice.order[0],
        route=route.name,
        reason=reason,
        fallbacks=(*choice.order[1:], route.default) if outside else choice.order[1:],
        candidates=candidates,
        steps=(*steps, Step("policy", f"{route.policy}: {choice.why}")),
        reading=reading,
    )


def fall_back(question: Question, snapshot: Snapshot, reason: str, why: str) -> Decision:
    """The route's default, or where it cannot serve the call, the dearest model that can."""
    step = Step(_STAGE_OF.get(reason, reason), why)
    route = question.route
    if route.default not in question.barred:
        return _prefer(question, route.default, reason, step)
    # knowing nothing more, go up and not down
    able = question.capable or tuple(
        snapshot.models[rule.model] for rule in route.rules if rule.model not in question.barred
    )
    dearest = max(able, key=lambda model: model.price.output)
    return _prefer(question, dearest.name, reason, step)


def _by_rule(question: Question, rule: RuleSpec) -> Decision:
    step = Step("rules", f"{rule.name} sends it to {rule.model}")
    return _prefer(question, rule.model, f"rule:{rule.name}", step)


def _prefer(question: Question, model: str, reason: str, step: Step) -> Decision:
    """``model`` first, then the route's others in its order, then its default."""
    route = question.route
    names = [spec.name for spec in question.capable]
    if route.default not in question.barred:
        names.append(route.default)
    return Decision(
        model=model,
        route=route.name,
        reason=reason,
        fallbacks=tuple(name for name in dict.fromkeys(names) if name != model),
        steps=(*question.steps, step),
    )


def _affordable(call: Call, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    limit = call.hints.max_cost_usd
    if limit is None:
        return candidates
    within = tuple(c for c in candidates if c.cost_usd <= limit)
    if not within:
        least = min(candidates, key=lambda c: c.cost_usd)
        raise BadRequest(
            f"No model is expected to answer for {limit:g} USD; the cheapest that can, "
            f"{least.model}, would take about {least.cost_usd:.2g}. Raise x-router-max-cost-usd.",
            param="x-router-max-cost-usd",
            code="max_cost_exceeded",
        )
    return within


def _say(reading: Reading) -> str:
    said = [f"difficulty {reading.difficulty:.2f}"]
    said += [label for label in (reading.task, reading.domain, reading.tier) if label]
    if reading.ood >= 0.5:
        said.append(f"unlike the training data ({reading.ood:.2f})")
    return ", ".join(said)
