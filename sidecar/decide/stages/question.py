"""What is left to decide, and the decisions that any stage may come to."""

from __future__ import annotations

from typing import Final

from sidecar.config.snapshot import ModelSpec, RouteSpec, RuleSpec, Snapshot
from sidecar.frozen import dataclass
from sidecar.types import Decision, Step

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

    def after(self, step: Step) -> Question:
        """The same, one step further in the chain of reasons."""
        # spelt out: `dataclasses.replace` takes as long as the rest of a decision's frame
        steps = (*self.steps, step)
        return Question(self.route, self.capable, self.barred, self.empty, steps)


def fall_back(question: Question, snapshot: Snapshot, reason: str, why: str) -> Decision:
    """The route's default, or where it cannot serve the call, the dearest model that can."""
    step = Step(_STAGE_OF.get(reason, reason), why)
    route = question.route
    if route.default not in question.barred:
        return prefer(question, route.default, reason, step)
    # knowing nothing more, go up and not down
    able = question.capable or tuple(
        snapshot.models[rule.model] for rule in route.rules if rule.model not in question.barred
    )
    dearest = max(able, key=lambda model: model.price.output)
    return prefer(question, dearest.name, reason, step)


def by_rule(question: Question, rule: RuleSpec) -> Decision:
    """What a rule that holds comes to."""
    step = Step("rules", f"{rule.name} sends it to {rule.model}")
    return prefer(question, rule.model, f"rule:{rule.name}", step)


def prefer(question: Question, model: str, reason: str, step: Step) -> Decision:
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
