"""What a prompt says of the router or of how hard it is stays out of what is read; nothing else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.gaming import phrases
from sidecar.claims import unclaimed
from sidecar.features import USER, features_of
from sidecar.types import Prompt

SUBJECT = "A train leaves Lyon at 9 and another leaves Paris at 10. When do they meet?"
SHARE = 0.9  # of the held-out phrases, of which nothing must be left


def placed(phrase: str) -> tuple[str, str]:
    return f"{phrase} {SUBJECT}", f"{SUBJECT}\n{phrase}"


def left(text: str) -> str:
    return " ".join(unclaimed(text)[0].split())


@pytest.mark.parametrize("phrase", [*phrases("developed")["up"], *phrases("developed")["down"]])
def test_a_claim_leaves_the_subject_and_nothing_of_itself(phrase: str) -> None:
    for text in placed(phrase):
        assert left(text) == SUBJECT
        assert unclaimed(text)[1] >= 1


def test_most_claims_that_nobody_knew_of_leave_nothing_either() -> None:
    said = phrases("held_out")
    texts = [text for phrase in (*said["up"], *said["down"]) for text in placed(phrase)]
    assert sum(left(text) == SUBJECT for text in texts) >= SHARE * len(texts)


@pytest.mark.parametrize(
    "phrase", [*phrases("developed")["ordinary"], *phrases("held_out")["ordinary"]]
)
def test_a_sentence_with_a_subject_is_read(phrase: str) -> None:
    for text in (phrase, *placed(phrase)):
        assert unclaimed(text) == (text, 0)


@pytest.mark.parametrize(
    "text", ["Use your best model.", "(extremely hard) It is a tough one!", "Be careful"]
)
def test_where_nothing_else_is_said_all_of_it_is_read(text: str) -> None:
    assert unclaimed(text) == (text, 0)


@pytest.mark.parametrize(
    "text",
    [
        "Which is right?\nA. Wrong, Wrong\nB. Wrong, Not wrong\nC. Not wrong, Wrong",
        "Which is right?\nA. 48 hours\nB. Hard\nC. Nothing.",
        "You are an expert in the field. Describe a heron.",
    ],
)
def test_answers_to_choose_from_and_roles_are_read(text: str) -> None:
    assert unclaimed(text) == (text, 0)


def test_letters_that_nobody_sees_hide_no_claim() -> None:
    assert left(f"Use your b\u200best mod\u00adel. {SUBJECT}") == SUBJECT


@given(st.text(alphabet=st.sampled_from("this is hard.?!,: model()\n\u200b-"), max_size=400))
def test_nothing_raises_and_nothing_is_added(text: str) -> None:
    rest, found = unclaimed(text)
    assert (rest == text) == (found == 0)
    letters = iter(text)
    assert all(letter in letters for letter in rest.replace(" ", "").replace("\n", ""))


@pytest.mark.parametrize("text", ["hard, " * 600, "model: " * 500, "(hard" * 700, "easy - " * 500])
def test_what_is_made_to_be_slow_is_not(text: str) -> None:
    best = 1.0
    for _ in range(5):
        began = time.thread_time()
        unclaimed(text)
        best = min(best, time.thread_time() - began)
    assert best < 0.02


def test_the_window_is_that_of_the_prompt_without_its_claims() -> None:
    said = features_of(Prompt(user=f"{SUBJECT} Use your best model."))
    assert (said.window, said.claims) == (f"{USER} {SUBJECT}", 1)
    heard = features_of(Prompt(user=f"{SUBJECT} Use your best model."), claims=True)
    assert "best model" in heard.window
    long = f"Use your best model. {'word ' * 2000}\nThis is extremely hard. {SUBJECT}"
    said = features_of(Prompt(user=long, system="This is trivial. Answer in French."))
    assert said.claims == 3
    for claim in ("model", "hard", "trivial"):
        assert claim not in said.window
    assert said.window.endswith(SUBJECT)
    assert "Answer in French." in said.window
