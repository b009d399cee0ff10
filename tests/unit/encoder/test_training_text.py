"""What the training's programs write keeps what is asked, and the attack set is its own."""

from __future__ import annotations

import math
import random

from distill import augment, placement, robustness, synthetic
from sidecar.features import features_of
from sidecar.types import DOMAINS, TASKS, TIERS

QUESTION = "Which gas do plants absorb from the air?\nA. Oxygen\nB. Carbon dioxide\nC. Helium"


def test_an_augmented_prompt_still_asks_the_question() -> None:
    rng = random.Random(3)
    for _ in range(300):
        prompt = augment.augment(rng, QUESTION)
        letters = set(prompt.user.lower())
        assert {"g", "p", "a", "?"} <= letters | {"?"}
        assert len(prompt.user) >= 0.5 * len(QUESTION.split("\n", maxsplit=1)[0])
        assert not features_of(prompt).empty


def test_reordered_options_are_the_same_options() -> None:
    rng = random.Random(5)
    for _ in range(50):
        changed = robustness.reordered(rng, QUESTION)
        assert sorted(line[3:] for line in changed.split("\n")[1:]) == [
            "Carbon dioxide",
            "Helium",
            "Oxygen",
        ]
        assert changed.startswith("Which gas")


def test_many_options_are_no_trouble() -> None:
    long = "Pick one:\n" + "\n".join(f"{c}. {c * 3}" for c in "ABCDEFGHIJ") + "\nA. again"
    rng = random.Random(1)
    for _ in range(100):
        assert augment.options(rng, long).startswith("Pick one:")


def test_attack_phrases_of_the_evaluation_never_trained() -> None:
    trained = {p.lower() for p in augment.EASY + augment.HARD + augment.PREAMBLES}
    attacks = [p for half in (robustness.DOWN, robustness.UP) for ps in half.values() for p in ps]
    assert not trained & {p.lower() for p in attacks}
    seen = set(robustness.DOWN["seen"] + robustness.UP["seen"])
    assert not seen & set(robustness.DOWN["held"] + robustness.UP["held"])


def test_synthetic_prompts_are_distinct_labelled_and_the_same_every_time() -> None:
    rows = synthetic.prompts(400)
    assert len({row["prompt"] for row in rows}) == len(rows) == 400
    assert rows == synthetic.prompts(400)
    for row in rows:
        assert "{" not in row["prompt"]
        assert row["split"] == "train"
        assert 0 <= row["task"] < len(TASKS)
        assert 0 <= row["domain"] < len(DOMAINS)
        assert 0 <= row["tier"] < len(TIERS)


def test_strange_text_is_never_empty() -> None:
    rng = random.Random(0)
    assert not any(features_of(augment.strange(rng)).empty for _ in range(300))


def test_a_harder_tier_is_placed_higher() -> None:
    for source in (*placement.TIER_OF, "any other"):
        easy, middle, hard = (placement.place(source, tier) for tier in range(3))
        assert 0 < easy <= middle < hard < 1
    assert math.isnan(placement.place("a source without a tier", -1))
