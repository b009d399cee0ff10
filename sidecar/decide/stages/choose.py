"""What is settled with a reading of the prompt, or with the reason why there is none."""

from __future__ import annotations

from dataclasses import replace

from sidecar.config.snapshot import ModelSpec, RouteSpec, Snapshot
from sidecar.decide import price, rules, session
from sidecar.decide.able import table_of
from sidecar.decide.candidates import Candidates
from sidecar.decide.policies import POLICIES
from sidecar.decide.policies.base import Situation, limit_of
from sidecar.decide.stages.plan import without_reading
from sidecar.decide.stages.question import Question, by_rule, fall_back
from sidecar.decide.view import EMPTY, View
from sidecar.errors import BadRequest, ClassifierError
from sidecar.types import Call, Decision, Reading, Step


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
        unread = fall_back(question, snapshot, verdict.reason, str(verdict))
        return _unread_within(unread, call, route, snapshot, view)
    question = question.after(Step(_source(verdict), _say, (verdict,)))
    after, settled = table_of(route, snapshot).after, None
    if after:
        rule = rules.first(after, rules.Facts(call, verdict, view), question.able.barred)
        settled = (
            without_reading(question, snapshot)
            if rule is None
            else by_rule(question, rule, snapshot)
        )
    if settled is not None:
        return replace(settled, reading=verdict)
    return _by_policy(question, call, verdict, snapshot, view)


def _by_policy(
    question: Question, call: Call, reading: Reading, snapshot: Snapshot, view: View
) -> Decision:
    """The route's policy over its capable models, within what a request may cost."""
    route, able = question.route, question.able
    candidates = price.candidates(call, able, reading, snapshot.abilities, view)
    affordable = _affordable(call, route, candidates)
    pick = POLICIES[route.policy]
    situation = Situation(
        call, route, reading, affordable, snapshot.models, snapshot.abilities, view
    )
    choice = pick(situation)
    reason, steps = "cache" if reading.remembered else "policy", question.steps
    if len(affordable) < len(candidates):
        free = pick(_unlimited(situation, candidates)).order[0]
        if free != choice.order[0]:
            reason = "budget"
            steps = (*steps, Step("budget", f"{free} would cost more than was allowed"))
    steps = (*steps, Step("policy", "%s: %s", (route.policy, choice.why)))
    order, tries = choice.order, choice.tries
    outside = able.outside and _within(snapshot.models[route.default], situation, view)
    if view.held is not None:
        terms = snapshot.config.sessions
        if tries and not session.affords_try(
            view.held, order[0], order[1], call, affordable, models=snapshot.models, terms=terms
        ):
            steps = (*steps, Step("session", f"{order[0]} is not tried: too little is left"))
            order, tries = (order[1], order[0], *order[2:]), 0
        usual = price.usual_output(reading, reading.task, view)
        verdict = session.settle(
            view.held,
            order[0],
            call,
            affordable,
            models=snapshot.models,
            terms=terms,
            # what its price is worth, the policy has weighed: less chance falls short of it
            quality=situation.asked(route.quality) if situation.worth is None else 1.0,
            output=min(call.max_output_tokens or usual, usual) * call.choices,
        )
        steps = (*steps, Step("session", verdict.why))
        if verdict.model != order[0]:
            order, tries = (verdict.model, *[n for n in order if n != verdict.model]), 0
        if order is not choice.order:
            reason = "session"
    return Decision(
        model=order[0],
        route=route.name,
        reason=reason,
        # a default that the policy ranked is where the policy put it, or was too dear
        fallbacks=(*order[1:], route.default) if outside else order[1:],
        candidates=candidates,
        steps=steps,
        reading=reading,
        tries=tries,
    )


def _unlimited(situation: Situation, candidates: Candidates) -> Situation:
    """The same among all ``candidates``, if nobody had set a limit."""
    call, route = situation.call, situation.route
    hints = replace(call.hints, max_cost_usd=None)
    return replace(
        situation,
        candidates=candidates,
        call=replace(call, hints=hints),
        route=replace(route, max_cost_usd=None),
    )


def _affordable(call: Call, route: RouteSpec, candidates: Candidates) -> Candidates:
    """Those within the caller's limit, or else the route's. A caller whose limit nothing
    meets is told; an operator's limit that nothing meets leaves the cheapest."""
    limit = limit_of(call, route)
    if limit is None:
        return candidates
    costs = candidates.costs
    within = [i for i, cost in enumerate(costs) if cost <= limit]
    if len(within) == len(costs):
        return candidates
    if not within:
        least = costs.index(min(costs))
        _told(call, candidates.names[least], costs[least])
        return candidates.only([least])
    return candidates.only(within)


def _unread_within(
    unread: Decision, call: Call, route: RouteSpec, snapshot: Snapshot, view: View
) -> Decision:
    """The decision without a reading, and without those that are beyond the request's limit.

    Where the default is, the dearest within it answers: what is not understood goes up.
    """
    limit = limit_of(call, route)
    if limit is None:
        return unread
    chain = (unread.model, *unread.fallbacks)
    costs = {n: price.expected(call, snapshot.models[n], None, view) for n in chain}
    within = [name for name in chain if costs[name] <= limit]
    if len(within) == len(chain):
        return unread
    if not within:
        within = [min(chain, key=lambda name: costs[name])]
        _told(call, within[0], costs[within[0]])
    if within[0] == unread.model:
        return replace(unread, fallbacks=tuple(within[1:]))
    first = max(within, key=lambda name: costs[name])
    step = Step("budget", f"{unread.model} would cost more than was allowed")
    return replace(
        unread,
        model=first,
        reason="budget",
        fallbacks=tuple(name for name in within if name != first),
        steps=(*unread.steps, step),
    )


def _within(model: ModelSpec, situation: Situation, view: View) -> bool:
    """Whether a model that no policy ranked keeps the request's limit."""
    limit = situation.limit
    return limit is None or price.expected(situation.call, model, situation.reading, view) <= limit


def _told(call: Call, cheapest: str, cost: float) -> None:
    """:class:`BadRequest` where it is the caller's own limit that nothing meets."""
    asked = call.hints.max_cost_usd
    if asked is not None:
        raise BadRequest(
            f"No model is expected to answer for {asked:g} USD; the cheapest that can, "
            f"{cheapest}, would take about {cost:.2g}. Raise x-router-max-cost-usd.",
            param="x-router-max-cost-usd",
            code="max_cost_exceeded",
        )


def _source(reading: Reading) -> str:
    return "cache" if reading.remembered else "classifier"


def _say(reading: Reading) -> str:
    said = [f"difficulty {reading.difficulty:.2f}"]
    said += [label for label in (reading.task, reading.domain, reading.tier) if label]
    if reading.ood >= 0.5:
        said.append(f"unlike the training data ({reading.ood:.2f})")
    if reading.remembered:
        said.append(f"remembered ({reading.remembered})")
    return ", ".join(said)
