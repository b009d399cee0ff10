"""The bandit explores as much as it is unsure, and finds its way back from a wrong start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from sidecar.config.snapshot import Snapshot
from sidecar.decide import Question, View, choose, plan
from sidecar.encoder.abilities import Ability, Catalogue
from sidecar.encoder.bundle import Bundle
from sidecar.state.abilities_online import Learner
from sidecar.types import Decision, Features, Hints, Reading
from tests.support.builders import call, model, reading, snapshot

CHEAP, DEAR = model("cheap", 1.0), model("dear", 20.0)


class Drawn:
    """Draws that a test sets."""

    def __init__(self, cheap: float, dear: float) -> None:
        self.said = {"cheap": cheap, "dear": dear}

    def probabilities(self, reading: Reading, models: Sequence[str]) -> list[float] | None:
        return [self.said[name] for name in models]


def decide(over: Snapshot, verdict: Reading, view: View, hints: Hints | None = None) -> Decision:
    request = call(hints=hints)
    question = plan(request, Features("hello"), over, view)
    assert isinstance(question, Question)
    return choose(question, request, verdict, over, view)


def over(policy: str = "bandit") -> Snapshot:
    made = snapshot([CHEAP, DEAR], policy=policy, quality=0.9)
    abilities = [Ability("cheap", (0.0,), 0.0, 0.5), Ability("dear", (0.0,), 2.0, 0.9)]
    return replace(made, abilities=Catalogue(abilities, {}, 1, "v1"))


def test_it_decides_by_what_was_drawn_and_says_so() -> None:
    for drawn, picked in ((Drawn(0.9, 0.95), "cheap"), (Drawn(0.5, 0.95), "dear")):
        decision = decide(over(), reading(), View(draws=drawn))
        assert decision.model == picked
        assert f"cheap {drawn.said['cheap']:.3f}" in decision.steps[-1].verdict
    # what the log keeps is what is believed, and not the draw
    assert decision.candidates[0].probability == pytest.approx(0.5)


def test_without_draws_it_is_cost_quality() -> None:
    verdict = replace(reading(), demand=(0.3,))
    plain = decide(over("cost_quality"), verdict, View())
    assert decide(over(), verdict, View()).model == plain.model == "dear"


def test_it_heeds_the_callers_quality_and_goes_up_where_the_text_is_strange() -> None:
    view = View(draws=Drawn(0.6, 1.0))
    assert decide(over(), reading(), view).model == "dear"
    assert decide(over(), reading(), view, Hints(quality=0.5)).model == "cheap"
    assert decide(over(), reading(ood=0.9), View(draws=Drawn(1.0, 0.1))).model == "dear"


def test_the_same_view_decides_the_same() -> None:
    learner = Learner(over(), 1000, seed=3)
    verdict = replace(reading(), demand=(0.3,))
    for _ in range(50):
        view = View(draws=learner.draws())
        assert decide(over(), verdict, view) == decide(over(), verdict, view)


def test_it_recovers_from_a_swapped_pair_of_abilities_within_2000_feedbacks() -> None:
    """The catalogue's own abilities of a weak and a strong model, each under the other's name.

    Regret is the chance of a good answer that is lost against the model that the right
    abilities would have chosen. A learner that began with the right ones agrees with them on
    .94 to .97 after as many, and on .88 to .90 before any: its draws differ.
    """
    catalogue = Catalogue.of(Bundle.load())
    weak, strong = catalogue["llama-3.1-8b-instruct"], catalogue["gpt-4o-2024-08-06"]
    rng = np.random.default_rng(5)
    right = {"cheap": weak, "dear": strong}
    swapped = [replace(strong, name="cheap"), replace(weak, name="dear")]
    wrong = replace(over(), abilities=catalogue.extended(swapped))
    own = [replace(weak, name="cheap"), replace(strong, name="dear")]
    truth = replace(over(), abilities=catalogue.extended(own))
    learner = Learner(wrong, 2000, seed=5)

    def asked() -> Reading:
        # along what models share prompts differ most: hard ones and easy ones
        shared = np.asarray(weak.slope) / np.linalg.norm(weak.slope)
        z = rng.normal(size=catalogue.demand) * 0.5 + shared * rng.normal(0.0, 2.5)
        return Reading(difficulty=0.5, demand=tuple(z.tolist()), version=catalogue.encoder)

    def chance(name: str, verdict: Reading) -> float:
        slope, shift = right[name].slope, right[name].shift
        return float(1 / (1 + np.exp(-(np.dot(slope, verdict.demand or ()) + shift))))

    def judged(over_: Snapshot, prompts: list[Reading]) -> tuple[float, float]:
        """The share on which the choice is the right one, and the mean regret."""
        chosen = [decide(over_, p, View(draws=learner.draws())).model for p in prompts]
        best = [decide(truth, p, View()).model for p in prompts]
        lost = [chance(b, p) - chance(c, p) for b, c, p in zip(best, chosen, prompts, strict=True)]
        same = [a == b for a, b in zip(chosen, best, strict=True)]
        return float(np.mean(same)), float(np.mean(lost))

    prompts = [asked() for _ in range(300)]
    before, lost_before = judged(wrong, prompts)
    served = wrong
    for number in range(2000):
        verdict = asked()
        chosen = decide(served, verdict, View(draws=learner.draws())).model
        good = float(rng.random() < chance(chosen, verdict))
        learner.learn(chosen, verdict.demand or (), good, 1.0)
        if number % 20 == 0:
            served = learner.taught(wrong)
    after, lost_after = judged(learner.taught(wrong), prompts)
    assert before < 0.6
    assert after > 0.8
    assert lost_before > 0.2
    assert lost_after < lost_before / 8
