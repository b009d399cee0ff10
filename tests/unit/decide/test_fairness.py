"""Who asks is no part of the decision, unless a rule or a budget names them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.schema import Budget
from sidecar.config.snapshot import Snapshot
from sidecar.decide import Question, choose, plan
from sidecar.decide.policies import POLICIES
from sidecar.frozen import dataclass
from sidecar.observe.metrics import Registry
from sidecar.runtime import Runtime
from sidecar.state.budgets import Ledger
from sidecar.state.spending import SqliteStore
from sidecar.types import Decision, Features, Hints
from tests.support.builders import FakeAbilities, call, model, reading, rule, snapshot

MODELS = [model("cheap", 1.0), model("dear", 20.0)]


@dataclass(frozen=True, slots=False)
class Watched(Hints):
    """Hints that fail whoever asks them for the tenant."""

    def __getattribute__(self, name: str) -> Any:
        if name == "tenant":
            raise AssertionError("the tenant was read")
        return super().__getattribute__(name)


def decide(over: Snapshot, who: Hints, runtime: Runtime) -> Decision:
    over = replace(over, abilities=FakeAbilities({"cheap": 0.5, "dear": 0.9}))
    # what is remembered of a conversation is kept apart by tenant: that is not a preference
    view = runtime.view(call(hints=Hints()), over)
    asked = call(hints=who)
    question = plan(asked, Features("hello"), over, view)
    if isinstance(question, Question):
        question = choose(question, asked, reading(task="qa"), over, view)
    return question


def runtime(over: Snapshot) -> Runtime:
    none: Any = None
    return Runtime(over, Path("none"), none, none, none)


@pytest.mark.parametrize("policy", sorted({*POLICIES, "fixed"}))
def test_the_tenant_is_not_read_by_any_policy(policy: str) -> None:
    over = snapshot(MODELS, policy=policy, rules=[rule("code", "dear", task="code")])
    assert decide(over, Watched(), runtime(over)).model in {"cheap", "dear"}


def test_a_rule_or_a_budget_that_names_the_tenant_reads_it(tmp_path: Path) -> None:
    ruled = snapshot(MODELS, rules=[rule("acme", "dear", tenant="acme")])
    with pytest.raises(AssertionError, match="tenant was read"):
        decide(ruled, Watched(), runtime(ruled))
    for per, is_read in (("tenant", True), ("route", False), ("all", False), ("key", False)):
        plain = snapshot(MODELS)
        budget = Budget.model_validate({"per": per, "period": "day", "usd": 1})
        config = plain.config.model_copy(update={"budgets": {"b": budget}})
        over = replace(plain, config=config)
        store = SqliteStore(tmp_path / per)
        ledger = Ledger(store, Registry(), 1.0, lambda config=config: config.budgets)
        if is_read:
            with pytest.raises(AssertionError, match="tenant was read"):
                ledger.exhausted(call(hints=Watched()), over)
        else:
            assert ledger.exhausted(call(hints=Watched()), over) == ()
        store._connection.close()


def test_two_tenants_get_the_same_decision() -> None:
    over = snapshot(MODELS)
    one, other = (decide(over, Hints(tenant=t), runtime(over)) for t in ("acme", "globex"))
    assert one == other


def test_two_tenants_differ_by_what_a_rule_says_and_nothing_else() -> None:
    over = snapshot(MODELS, rules=[rule("acme", "cheap", tenant="acme")])
    assert decide(over, Hints(tenant="acme"), runtime(over)).reason == "rule:acme"
    other = decide(over, Hints(tenant="globex"), runtime(over))
    assert other.model == decide(snapshot(MODELS), Hints(), runtime(over)).model
