"""What is left to decide, and the decisions that any stage may come to."""

from __future__ import annotations

from typing import Final

from sidecar.config.snapshot import ModelSpec, RouteSpec, RuleSpec, Snapshot
from sidecar.decide.able import Able
from sidecar.decide.rules import Unjudged
from sidecar.frozen import dataclass
from sidecar.types import Decision, Step

NO_ROUTE: Final = "-"
_STAGE_OF: Final = {"deadline": "classifier", "classifier-down": "classifier"}


@dataclass(frozen=True, slots=True)
class Question:
    """What is left to decide once everything that needs no reading is settled."""

    route: RouteSpec
    able: Able
    empty: bool  # there is no text to read
    steps: tuple[Step, ...]

    @property
    def capable(self) -> tuple[ModelSpec, ...]:
        """Of the route's models, those that can serve the request, in its order."""
        return self.able.models

    def after(self, step: Step) -> Question:
        """The same, one step further in the chain of reasons."""
        # spelt out: `dataclasses.replace` takes as long as the rest of a decision's frame
        return Question(self.route, self.able, self.empty, (*self.steps, step))


def fall_back(question: Question, snapshot: Snapshot, reason: str, why: str) -> Decision:
    """The route's default, or where it cannot serve the call, the dearest model that can."""
    step = Step(_STAGE_OF.get(reason, reason), why)
    route, able = question.route, question.able
    if route.default not in able.barred:
        return prefer(question, route.default, reason, step)
    # knowing nothing more, go up and not down
    left = able.models or tuple(
        snapshot.models[rule.model] for rule in route.rules if rule.model not in able.barred
    )
    dearest = max(left, key=lambda model: model.price.output)
    return prefer(question, dearest.name, reason, step)


def by_rule(question: Question, rule: RuleSpec | Unjudged, snapshot: Snapshot) -> Decision:
    """What a rule that holds comes to, or one that there was no time to judge: the default,
    for the policy might send it where a rule was to keep it from."""
    if isinstance(rule, Unjudged):
        return fall_back(question, snapshot, "default", rule.why)
    step = Step("rules", f"{rule.name} sends it to {rule.model}")
    return prefer(question, rule.model, f"rule:{rule.name}", step)


def prefer(question: Question, model: str, reason: str, step: Step) -> Decision:
    """``model`` first, then the route's others in its order, then its default."""
    return Decision(
        model=model,
        route=question.route.name,
        reason=reason,
        fallbacks=tuple([name for name in question.able.line if name != model]),
        steps=(*question.steps, step),
    )
