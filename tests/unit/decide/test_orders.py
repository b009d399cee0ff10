"""Whatever the policy, the chances and the prices: a decision, and each model at most once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import library
from sidecar.decide import Question, View, choose, plan
from sidecar.decide.observed import Observed
from sidecar.decide.policies import POLICIES
from sidecar.stack import VOTES, Stack, Weights
from sidecar.types import Features
from tests.support.builders import FakeAbilities, call, model, reading, rule, snapshot

NAMES = ("a", "b", "c", "d")
LIBRARY = library.build(
    "test", np.eye(3), ["x", "y", "z"], np.array([0.0, 1.0, np.nan]), {"a": np.array([1, 0, 1.0])}
)
STACK = Stack("test", LIBRARY.digest, VOTES, {"b": Weights((1.0,) * len(VOTES), 0.5)})
chance = st.floats(0, 1)
price = st.sampled_from([0.0, 0.0, 1.0, 1.0, 5.0, 1e6])


@pytest.mark.parametrize("policy", [*POLICIES, "fixed", "rules"])
@given(data=st.data())
def test_the_chain_visits_each_model_at_most_once(policy: str, data: st.DataObject) -> None:
    """So no cycle of fallbacks can be configured, and a price of zero divides nothing."""
    draw = data.draw
    models = [model(name, draw(price)) for name in NAMES]
    over = snapshot(
        models,
        policy=policy,
        among=draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True)),
        default=draw(st.sampled_from(NAMES)),
        quality=draw(st.floats(0.01, 1)),
        threshold=draw(chance),
        rules=[rule("r", draw(st.sampled_from(NAMES)), task="code")],
        max_cost_usd=draw(st.sampled_from([None, 1e-9, 1e-3, 1.0])),
        usd_per_s=draw(st.sampled_from([0.0, 0.01])),
        library=LIBRARY,
        stack=STACK,
    )
    over = replace(over, abilities=FakeAbilities({name: draw(chance) for name in NAMES}))
    view = View(
        observed={
            name: Observed(draw(chance), draw(st.sampled_from([None, 0.0, 9.0])), 0.01)
            for name in draw(st.lists(st.sampled_from(NAMES), unique=True))
        }
    )
    said = reading(
        draw(chance),
        ood=draw(chance),
        task=draw(st.sampled_from(["qa", "code"])),
        tier=draw(st.sampled_from(["simple", "complex"])),
    )
    said = replace(said, demand=tuple(draw(st.floats(-2, 2)) for _ in range(3)))
    found = plan(call(), Features("hello"), over, view)
    if isinstance(found, Question):
        found = choose(found, call(), said, over, view)
    chain = [found.model, *found.fallbacks]
    assert len(chain) == len(set(chain))
    assert set(chain) <= set(NAMES)
    assert found.steps


def test_where_all_are_free_the_likeliest_answers() -> None:
    over = snapshot([model(name, 0.0) for name in ("a", "b")], quality=0.5)
    over = replace(over, abilities=FakeAbilities({"a": 0.6, "b": 0.9}))
    found = plan(call(), Features("hello"), over)
    assert isinstance(found, Question)
    assert choose(found, call(), reading(), over).model == "b"
