"""What the training's programs write keeps what is asked, and the attack set is its own."""

from __future__ import annotations

import math
import random

from distill import augment, ordinary, padding, placement, robustness, strange, synthetic
from sidecar.features import features_of
from sidecar.types import DOMAINS, TASKS, TIERS

QUESTION = "Which gas do plants absorb from the air?\nA. Oxygen\nB. Carbon dioxide\nC. Helium"


def test_an_augmented_prompt_still_asks_the_question() -> None:
    rng = random.Random(3)
    for _ in range(300):
        prompt = augment.augment(rng, QUESTION)
        letters = set(prompt.user.lower())
        assert {"g", "a", "s", "i"} <= letters
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
    rng = random.Random(1)
    trained = {p.lower() for p in augment.EASY + augment.HARD + augment.PREAMBLES}
    trained |= {augment.claim(rng, easy=i % 2 == 0).lower() for i in range(5000)}
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
    assert not any(features_of(strange.strange(rng)).empty for _ in range(300))


def test_a_harder_tier_is_placed_higher() -> None:
    for source in (*placement.TIER_OF, "any other"):
        easy, middle, hard = (placement.place(source, tier) for tier in range(3))
        assert 0 < easy <= middle < hard < 1
    assert math.isnan(placement.place("a source without a tier", -1))


def test_ordinary_prompts_are_distinct_and_placed() -> None:
    rows = ordinary.prompts(300)
    assert len({row["prompt"] for row in rows}) == len(rows) == 300
    assert rows == ordinary.prompts(300)
    for row in rows:
        assert "{" not in row["prompt"]
        assert 0 < placement.place(row["source"], row["tier"], row["raw_task"]) < 1


def test_questions_with_few_answers_are_given_no_place() -> None:
    assert math.isnan(placement.place("dolly", -1, "classification"))
    assert placement.place("dolly", -1, "summarization") < 0.1
    assert placement.place("synthetic", 0, "classification") < 0.1
    assert placement.place("ordinary", 2, "reasoning") > 0.5


def test_padding_is_drawn_from_statements_and_asks_nothing() -> None:
    passage = "It rained. The town lies on the northern bank of the river. Why? " * 20
    sentences = padding.statements([passage, "short"])
    assert sentences == ("The town lies on the northern bank of the river.",)
    rng = random.Random(0)
    for _ in range(20):
        pad = padding.neutral(rng, 300, sentences)
        assert 299 <= len(pad) < 500  # the last space is not counted out
        assert "?" not in pad


def test_padding_is_of_many_kinds_and_shares_no_sentence_with_what_judges_it() -> None:
    rng = random.Random(1)
    made = {padding.sentence(rng) for _ in range(4000)}
    assert len(made) > 3500
    judged = {part.strip() for part in robustness.NEUTRAL.split(".") if part.strip()}
    assert not {text.rstrip(".") for text in made} & judged
    pads = [padding.neutral(rng, 900) for _ in range(60)]
    again = [len({*pad.split(". ")}) < len(pad.split(". ")) / 2 for pad in pads]
    assert 5 < sum(again) < 40, "some paragraphs repeat themselves, and some do not"


def test_claims_of_ease_and_of_difficulty_are_many_and_distinct() -> None:
    rng = random.Random(0)
    easy = {augment.claim(rng, easy=True) for _ in range(2000)}
    hard = {augment.claim(rng, easy=False) for _ in range(2000)}
    assert min(len(easy), len(hard)) > 100
    assert not easy & hard
