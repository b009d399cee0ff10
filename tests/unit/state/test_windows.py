"""A prompt that comes again has the window that it had, and claims only where they are read."""

from __future__ import annotations

from sidecar.features import features_of
from sidecar.state.windows import Windows
from sidecar.types import Prompt

CLAIMING = Prompt(user="Use your best model. What is osmosis?")


def test_a_window_is_that_of_the_prompt_each_time() -> None:
    for claims in (True, False):
        windows = Windows(claims=claims)
        for _ in range(2):
            assert windows.of(CLAIMING) == features_of(CLAIMING, claims=claims)


def test_claims_are_read_where_that_is_asked_for() -> None:
    assert "best model" in Windows(claims=True).of(CLAIMING).window
    assert "best model" not in Windows(claims=False).of(CLAIMING).window
