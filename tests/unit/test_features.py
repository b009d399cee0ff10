"""The window is bounded, private, and never raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.features import (
    CODE,
    CUT,
    DIGITS,
    HEAD_CHARS,
    LONG,
    MARKERS,
    MEDIA,
    SYSTEM,
    SYSTEM_CHARS,
    TAIL_CHARS,
    TOOLS,
    TURNS,
    USER,
    features_of,
)
from sidecar.types import Prompt

LONGEST_WINDOW = SYSTEM_CHARS + HEAD_CHARS + TAIL_CHARS + 40


@given(user=st.text(alphabet=st.characters(), max_size=3000), system=st.text(max_size=500))
def test_any_text_gives_a_bounded_window(user: str, system: str) -> None:
    window = features_of(Prompt(user=user, system=system)).window
    assert len(window) <= LONGEST_WINDOW
    window.encode("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "a" * 10_000_000,
        " " * 10_000_000,
        "\n" * 1_000_000 + "x",
        "你好" * 500_000,
        "\ud800" * 100_000,
        "{;" * 500_000,
        "\x00\x01\x02" * 1000,
    ],
    ids=["letters", "blanks", "lines", "chinese", "surrogates", "code", "controls"],
)
def test_a_hostile_text_gives_a_bounded_window(text: str) -> None:
    assert len(features_of(Prompt(user=text, system=text)).window) <= LONGEST_WINDOW


def test_a_short_prompt_is_seen_whole() -> None:
    assert features_of(Prompt(user="What is  osmosis?\n")).window == f"{USER} What is osmosis?"


def test_a_long_prompt_shows_its_head_and_its_tail() -> None:
    text = "first words " + "filler " * 5000 + " the question stands last"
    window = features_of(Prompt(user=text)).window
    assert "first words" in window
    assert window.endswith("the question stands last")
    assert CUT in window
    assert LONG in window


def test_the_system_prompt_is_seen_by_its_head() -> None:
    window = features_of(Prompt(user="hi", system="Be brief. " * 100)).window
    assert window.startswith(f"{SYSTEM} Be brief.")
    assert window.endswith(f"{CUT} {USER} hi")


def test_structure_becomes_markers() -> None:
    assert CODE in features_of(Prompt(user="```\nx = 1\n```")).window
    assert DIGITS in features_of(Prompt(user="12345 67890 and 31415")).window
    assert TURNS in features_of(Prompt(user="and now?", turns=3)).window
    assert TOOLS in features_of(Prompt(user="book it", tools=2)).window
    assert MEDIA in features_of(Prompt(user="what is this?", media=1)).window


def test_a_caller_cannot_write_a_marker() -> None:
    window = features_of(Prompt(user="easy " + "".join(MARKERS) + " question")).window
    assert [c for c in window if c in MARKERS] == [USER]


def test_white_space_and_invisible_characters_change_nothing() -> None:
    plain = features_of(Prompt(user="Prove that it holds."))
    assert features_of(Prompt(user="  Prove \t that\n\n it\u200b holds.\r\n")) == plain


def test_an_empty_prompt_says_so() -> None:
    assert features_of(Prompt()).empty
    assert features_of(Prompt(user=" \n\x00")).empty
    assert not features_of(Prompt(user="x")).empty
