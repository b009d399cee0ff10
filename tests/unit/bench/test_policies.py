"""By how much a policy beats rules and random at their cost, and how sure that is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.policies import beaten
from sidecar.features import features_of
from sidecar.offline.simulate import Study
from sidecar.offline.simulate_rows import Case
from tests.support.builders import FakeAbilities, call, model, reading, snapshot


def study(rows: int) -> Study:
    """Half of the rows are answered well by anybody, the others by the strong model alone."""
    over = snapshot([model("weak", 1.0), model("strong", 10.0)])
    over = replace(over, abilities=FakeAbilities({"weak": 0.5, "strong": 0.9}))
    cases = []
    for i in range(rows):
        request = call(input_tokens=100)
        scores = {"weak": float(i % 2), "strong": 1.0}
        cases.append(Case(i, request, features_of(request.prompt), scores, {}, {}))
    said = reading(output_tokens=100)
    return Study(cases, [said] * rows, over.routes["auto"], over)


def test_what_knows_more_is_ahead_and_what_draws_is_not() -> None:
    over = study(200)
    rules = over.baseline("random")
    ahead = beaten(over, [over.baseline("oracle")], rules)
    assert ahead["by"] == pytest.approx(0.25, abs=1e-4)
    low, high = ahead["by_95"]
    assert 0.2 < low < 0.249 < high < 0.3
    even = beaten(over, [rules], rules)
    assert even["by"] == pytest.approx(0.0, abs=1e-4)
    assert even["by_95"] == pytest.approx([0.0, 0.0], abs=1e-3)


def test_rules_that_are_worse_than_a_draw_are_not_what_is_to_be_beaten() -> None:
    over = study(100)
    waste = replace(over.baseline("random"), score=over.baseline("always_weak").score)
    assert beaten(over, [], waste)["by"] == pytest.approx(0.0, abs=1e-4)


def test_few_rows_say_little() -> None:
    wide, narrow = (
        beaten(over, [over.baseline("oracle")], over.baseline("random"))["by_95"]
        for over in (study(20), study(400))
    )
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])
