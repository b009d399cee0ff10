"""``worth_usd``: the model that is worth most after its price."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sidecar.decide import Question, View, choose, plan
from sidecar.decide.candidates import Candidates
from sidecar.decide.observed import Observed
from sidecar.decide.policies.base import in_order, worth_most
from sidecar.decide.session import Held
from sidecar.types import Decision, Features, Hints
from tests.support.builders import FakeAbilities, call, model, reading, snapshot

CHEAP, MIDDLE, DEAR = model("cheap", 1.0), model("middle", 5.0), model("dear", 20.0)
ALL = [CHEAP, MIDDLE, DEAR]


def decide(
    worth: float,
    chances: tuple[float, float, float],
    *,
    policy: str = "cost_quality",
    hints: Hints | None = None,
    ood: float = 0.0,
    view: View | None = None,
    usd_per_s: float = 0.0,
) -> Decision:
    over = snapshot(ALL, policy=policy, worth_usd=worth, usd_per_s=usd_per_s)
    abilities = FakeAbilities(dict(zip(("cheap", "middle", "dear"), chances, strict=True)))
    request = call(hints=hints, max_output_tokens=1000)
    question = plan(request, Features("hello"), over)
    assert isinstance(question, Question)
    said = reading(output_tokens=1000, ood=ood)
    return choose(question, request, said, replace(over, abilities=abilities), view or View())


# a thousand tokens cost .001, .005 and .02 USD, and hardly anything is read
@pytest.mark.parametrize(
    ("worth", "picked"),
    [
        (0.005, "cheap"),  # .2 of a chance more for .004 USD pays from .02 on
        (0.019, "cheap"),
        (0.022, "middle"),
        (0.14, "middle"),  # .1 more for .015 USD pays from .15 on
        (0.16, "dear"),
    ],
)
@pytest.mark.parametrize("policy", ["cost_quality", "bandit"])
def test_a_dearer_model_is_taken_where_its_chance_is_worth_its_price(
    worth: float, picked: str, policy: str
) -> None:
    decision = decide(worth, (0.6, 0.8, 0.9), policy=policy)
    assert (decision.model, decision.reason) == (picked, "policy")
    assert "USD for an answer that suffices" in decision.steps[-1].verdict


def test_a_prompt_that_all_models_fail_alike_stays_cheap_whatever_its_share_is() -> None:
    hard = (0.02, 0.03, 0.05)  # .4 of the best chance: a share of quality would send it up
    assert decide(0.1, hard).model == "cheap"
    assert decide(0.1, (0.5, 0.6, 0.9)).model == "dear"


def test_a_cascade_tries_before_the_model_that_is_worth_its_price() -> None:
    decision = decide(0.16, (0.6, 0.8, 0.9), policy="cascade")
    assert (decision.model, decision.fallbacks[0], decision.tries) == ("middle", "dear", 1)
    assert decide(0.005, (0.6, 0.8, 0.9), policy="cascade").model == "cheap"


def test_fallbacks_are_what_is_worth_most_after_it() -> None:
    decision = decide(0.022, (0.6, 0.8, 0.9))
    assert (decision.model, *decision.fallbacks) == ("middle", "cheap", "dear")


def test_the_quality_that_a_caller_asks_for_stands_in_its_place() -> None:
    assert decide(0.005, (0.6, 0.8, 0.9), hints=Hints(quality=0.99)).model == "dear"
    assert decide(10.0, (0.6, 0.8, 0.9), hints=Hints(quality=0.5)).model == "cheap"


def test_doubt_goes_up() -> None:
    assert decide(0.015, (0.6, 0.8, 0.9)).model == "cheap"
    assert decide(0.015, (0.6, 0.8, 0.9), ood=0.4).model == "middle"
    assert decide(0.015, (0.6, 0.8, 0.9), ood=0.9).model == "dear"


def test_waiting_is_part_of_the_price() -> None:
    def seen(first_s: float) -> Observed:
        return Observed(first_s=first_s, token_s=0.0)

    slow = View(observed={"middle": seen(9.0), "cheap": seen(0.5), "dear": seen(0.5)})
    assert decide(0.04, (0.6, 0.8, 0.9), view=slow).model == "middle"
    assert decide(0.04, (0.6, 0.8, 0.9), view=slow, usd_per_s=0.01).model == "cheap"


def test_a_conversation_moves_up_where_the_gain_is_worth_it() -> None:
    held = Held("cheap", "cheap", 10, 0.001, 0.001)
    assert decide(0.022, (0.6, 0.8, 0.9), view=View(held=held)).model == "middle"
    assert decide(0.019, (0.6, 0.8, 0.9), view=View(held=held)).model == "cheap"


def test_no_share_of_quality_keeps_more_for_the_same_money() -> None:
    """With true chances: every floor's mean cost and quality lie on or below the hull of worths."""
    rng = np.random.default_rng(11)
    prices = np.array([1.0, 4.0, 15.0]) * rng.gamma(2.0, 0.01, (500, 1))
    chances = np.sort(rng.random((500, 3)) ** rng.choice([0.3, 1.0, 3.0], (500, 1)), axis=1)
    names = ("a", "b", "c")
    rows = [
        Candidates(names, line.tolist(), cost.tolist())
        for line, cost in zip(chances, prices, strict=True)
    ]

    def mean(picked: list[str]) -> tuple[float, float]:
        at = [names.index(name) for name in picked]
        who = np.arange(len(at))
        return float(prices[who, at].mean()), float(chances[who, at].mean())

    hull = sorted(
        mean([worth_most(row, row.probabilities, worth, 0.0).order[0] for row in rows])  # type: ignore[arg-type]
        for worth in np.geomspace(1e-4, 1e3, 400)
    )
    costs, kept = zip(*hull, strict=True)
    for share in np.linspace(0.05, 1.0, 20):
        cost, quality = mean(
            [
                in_order(row, row.probabilities, share * max(row.probabilities), 0.0)[0]  # type: ignore[arg-type,type-var,operator]
                for row in rows
            ]
        )
        assert quality <= np.interp(cost, costs, kept) + 1e-3
