"""A stack of votes: what scored rows taught of each, and nothing where they taught nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar import stack
from sidecar.decide import Question, choose, plan
from sidecar.errors import DataError
from sidecar.offline import stacking
from sidecar.stack import VOTES, Stack, Weights
from sidecar.types import Decision, Features
from tests.support.builders import FakeAbilities, call, model, reading, snapshot

CHEAP, DEAR = model("cheap", 1.0), model("dear", 20.0)
TRUST = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def stacked(**weights: Weights) -> Stack:
    return Stack("test", "", VOTES, weights)


def decide(over: Stack | None, cheap: float = 0.6, **said: Any) -> Decision:
    route = snapshot([CHEAP, DEAR], policy="ensemble", quality=0.9, stack=over)
    route = replace(route, abilities=FakeAbilities({"cheap": cheap, "dear": 0.9}))
    asked = plan(call(), Features("hello"), route)
    assert isinstance(asked, Question)
    return choose(asked, call(), reading(**said), route)


def test_a_model_without_weights_keeps_the_encoders_probability() -> None:
    assert decide(stacked()).model == "dear"
    assert decide(stacked(), cheap=0.85).model == "cheap"


def test_weights_move_a_models_chance() -> None:
    sure = Weights(slope=TRUST, shift=5.0)
    assert decide(stacked(cheap=sure)).model == "cheap"
    doubted = Weights(slope=TRUST, shift=-5.0)
    assert decide(stacked(cheap=doubted), cheap=0.85).model == "dear"
    assert "by the stack: cheap 0.996, dear 0.900" in str(
        decide(stacked(cheap=sure)).steps[-1].verdict
    )


def test_every_vote_is_heard_where_its_weight_says_so() -> None:
    by_difficulty = Weights(slope=(1.0, 0.0, -3.0, 0.0, 0.0, 0.0), shift=0.0)
    assert decide(stacked(cheap=by_difficulty), difficulty=0.05).model == "cheap"
    assert decide(stacked(cheap=by_difficulty), difficulty=0.95, cheap=0.85).model == "dear"
    by_tier = Weights(slope=(1.0, 0.0, 0.0, -5.0, 0.0, 0.0), shift=0.0)
    assert decide(stacked(cheap=by_tier), tier="simple").model == "cheap"
    assert decide(stacked(cheap=by_tier), tier="complex", cheap=0.85).model == "dear"


def test_text_unlike_the_training_data_goes_to_the_dearest() -> None:
    assert decide(stacked(cheap=Weights(TRUST, 9.0)), ood=0.9).model == "dear"


def test_the_fit_finds_what_the_encoder_misses() -> None:
    """The second vote decides and the first is noise: a stack that trusts only the first fails."""
    rng = np.random.default_rng(0)
    x = np.zeros((600, len(VOTES)))
    x[:, :2] = rng.normal(size=(600, 2))
    y = (rng.random(600) < 1 / (1 + np.exp(-4 * x[:, 1]))).astype(float)
    found = stacking.one(x, y, "m")
    assert found.slope[1] > 2.0
    assert abs(found.slope[0]) < 0.5
    assert found.auc is not None
    assert found.auc_encoder is not None
    assert found.auc > 0.85 > 0.6 > found.auc_encoder
    assert found.ece is not None
    assert found.ece_encoder is not None
    assert found.ece < found.ece_encoder


@pytest.mark.parametrize(
    ("rows", "score", "said"),
    [(20, 0.0, "at least"), (80, 1.0, "never fails"), (80, 0.0, "never suffices")],
)
def test_rows_that_teach_nothing_are_refused(rows: int, score: float, said: str) -> None:
    with pytest.raises(DataError, match=said):
        stacking.one(np.zeros((rows, len(VOTES))), np.full(rows, score), "m")


# -- the file -------------------------------------------------------------------------


def test_a_stack_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    kept = stacked(cheap=Weights(TRUST, 0.25, rows=70, auc=0.7))
    kept.save(tmp_path / "stack.json")
    assert stack.load(tmp_path / "stack.json", "test", "") == kept


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 9}, "does not match"),
        ({"votes": ["one"]}, "does not match"),
        ({"models": {"cheap": {"slope": [math.pi], "shift": 0}}}, "does not match"),
        (None, "is not an ensemble file"),
    ],
)
def test_a_changed_file_is_refused(
    tmp_path: Path, change: dict[str, Any] | None, said: str
) -> None:
    file = tmp_path / "stack.json"
    stacked(cheap=Weights(TRUST, 0.25)).save(file)
    whole = json.loads(file.read_text())
    file.write_text("{" if change is None else json.dumps(whole | change))
    with pytest.raises(DataError, match=said):
        stack.load(file, "test", "")


def test_a_stack_of_other_votes_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "stack.json"
    stacked(cheap=Weights(TRUST, 0.25)).save(file)
    for encoder, library in (("other", ""), ("test", "abc")):
        with pytest.raises(DataError, match=r"was fitted with .*: run `sidecar ensemble fit`"):
            stack.load(file, encoder, library)
    with pytest.raises(DataError, match="can't read the ensemble"):
        stack.load(tmp_path / "none.json", "test", "")
