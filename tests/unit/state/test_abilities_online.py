"""Abilities move with scores, survive a restart, and a bad file is kept aside."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from sidecar import library
from sidecar.config.snapshot import Price, Snapshot
from sidecar.decide import Question, choose, plan
from sidecar.encoder.abilities import Ability, Catalogue
from sidecar.stack import VOTES, Stack, Weights
from sidecar.state.abilities_online import Learner, restore, save
from sidecar.types import Features, Reading
from tests.support.builders import call, model, snapshot

K = 4
Z = (0.5, -0.2, 1.0, 0.1)
READING = Reading(difficulty=0.5, demand=Z, version="v1")


def base(encoder: str = "v1", shift: float = 2.0) -> Snapshot:
    abilities = [
        Ability("small", (0.3, 0.1, 0.2, 0.0), 0.5, 0.6),
        Ability("large", (0.3, 0.1, 0.2, 0.1), shift, 0.9),
    ]
    made = snapshot([model("small", 1.0), model("large", 10.0)])
    return replace(made, abilities=Catalogue(abilities, {}, K, encoder))


def chances(over: Snapshot) -> dict[str, float]:
    names = [spec.ability for spec in over.models.values()]
    said = over.abilities.probabilities(READING, names)
    return dict(zip(over.models, said, strict=True))


def taught(learner: Learner, scores: int = 50) -> Snapshot:
    for _ in range(scores):
        assert learner.learn("large", Z, 0.0, 1.0)
    return learner.taught(base())


def test_scores_move_the_model_they_are_of_and_no_other() -> None:
    before = base()
    learner = Learner(before, 1000)
    assert learner.taught(before) is before
    after = taught(learner)
    assert chances(after)["small"] == chances(before)["small"]
    assert chances(after)["large"] < 0.3 < chances(before)["large"]
    assert after.learnt > before.learnt
    assert chances(before)["large"] > 0.8  # who holds the old one decides as before


def test_two_models_of_one_ability_learn_apart() -> None:
    over = base()
    twin = replace(over.models["large"], name="twin")
    over = replace(over, models={**over.models, "twin": twin})
    learner = Learner(over, 1000)
    for _ in range(50):
        learner.learn("large", Z, 0.0, 1.0)
    after = chances(learner.taught(over))
    assert after["large"] < 0.3 < after["twin"]


@pytest.mark.parametrize("policy", ["similarity", "ensemble"])
def test_what_neighbours_and_a_stack_say_of_a_model_is_not_forgotten_when_it_learns(
    policy: str,
) -> None:
    """A library's columns and a stack's weights go by the ability that was configured."""
    many = np.tile(Z, (200, 1)) + np.random.default_rng(0).normal(0, 0.1, (200, K))
    failed = {"large": np.zeros(200), "small": np.full(200, 0.5)}
    near = library.build("v1", many, [str(i) for i in range(200)], np.full(200, np.nan), failed)
    doubted = Weights((1.0,) + (0.0,) * (len(VOTES) - 1), -9.0)
    route = replace(
        base().routes["auto"], policy=policy, library=near,
        stack=Stack("v1", near.digest, VOTES, {"large": doubted}),
    )  # fmt: skip
    before = replace(base(), routes={"auto": route})
    learner = Learner(before, 1000)
    assert learner.learn("large", Z, 1.0, 1.0)
    for over in (before, learner.taught(before)):
        question = plan(call(), Features("hello"), over)
        assert isinstance(question, Question)
        assert choose(question, call(), READING, over).model == "small"


def test_what_cannot_be_learnt_from_changes_nothing() -> None:
    learner = Learner(base(), 1000)
    assert not learner.learn("nobody", Z, 0.0, 1.0)
    assert not learner.learn("large", (1.0, 2.0), 0.0, 1.0)  # another encoder's
    assert learner.revision == 0


def test_what_was_learnt_survives_a_restart(tmp_path: Path) -> None:
    learner = Learner(base(), 1000)
    after = taught(learner)
    save(learner.dump(), tmp_path / "learnt.json")
    again = Learner(base(), 1000)
    restore(again, tmp_path / "learnt.json")
    assert chances(again.taught(base())) == pytest.approx(chances(after))
    assert again.scores("large") == 50
    assert [p.name for p in tmp_path.iterdir()] == ["learnt.json"]


def half(text: bytes) -> bytes:
    return text[: len(text) // 2]


def infinite(text: bytes) -> bytes:
    state = json.loads(text)
    state["models"]["large"]["mean"] = "AAAAAAAA8H8AAAAAAADwfwAAAAAAAPB/AAAAAAAA8H8AAAAAAADwfw=="
    return json.dumps(state).encode()


def _negated(text: bytes) -> bytes:
    """Every covariance with its sign turned: numbers all, and nothing can be drawn from them."""
    said = orjson.loads(text)
    for spec in said["models"].values():
        numbers = np.frombuffer(base64.b64decode(spec["covariance"]), "<f8")
        spec["covariance"] = base64.b64encode((-numbers).tobytes()).decode()
    return orjson.dumps(said)


@pytest.mark.parametrize(
    "spoil",
    [
        half,
        infinite,
        lambda _: b"",
        lambda _: b"[]",
        lambda _: b'{"format": 99}',
        lambda _: b"\x00\xff\x00",
        lambda text: text.replace(b'"mean":"', b'"mean":"!!'),
        _negated,
    ],
)
def test_a_corrupt_state_file_is_kept_aside_and_the_catalogue_serves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: object
) -> None:
    learner = Learner(base(), 1000)
    taught(learner)
    file = tmp_path / "learnt.json"
    spoilt = spoil(learner.dump())  # type: ignore[operator]
    file.write_bytes(spoilt)
    again = Learner(base(), 1000)
    with caplog.at_level(logging.WARNING):
        restore(again, file)
    assert "cannot be used" in caplog.text
    assert again.taught(base()).learnt == 0
    assert chances(again.taught(base())) == chances(base())
    assert not file.exists()
    (aside,) = tmp_path.iterdir()
    assert aside.read_bytes() == spoilt


def test_what_another_encoder_learnt_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learner = Learner(base(), 1000)
    taught(learner)
    file = tmp_path / "learnt.json"
    save(learner.dump(), file)
    again = Learner(base(encoder="v2"), 1000)
    restore(again, file)
    assert "of encoder v1" in caplog.text
    assert again.scores("large") == 0


def test_a_reload_keeps_what_was_learnt_unless_the_ability_is_another() -> None:
    learner = Learner(base(), 1000)
    taught(learner)
    learner.reloaded(base())
    assert chances(learner.taught(base()))["large"] < 0.3
    learner.reloaded(base(shift=3.0))
    assert learner.scores("large") == 0
    assert chances(learner.taught(base(shift=3.0))) == chances(base(shift=3.0))


def test_draws_are_of_this_decision_alone_and_seeded() -> None:
    one, two = Learner(base(), 1000, seed=7), Learner(base(), 1000, seed=7)
    names = ["small", "large"]
    first, other = one.draws(), two.draws()
    assert first.probabilities(READING, names) == other.probabilities(READING, names)
    assert first.probabilities(READING, names) == first.probabilities(READING, names)
    assert one.draws().probabilities(READING, names) != first.probabilities(READING, names)
    many = [one.draws().probabilities(READING, names) for _ in range(300)]
    assert np.std([m[1] for m in many if m]) > 0.01
    assert first.probabilities(Reading(difficulty=0.5), names) is None
    assert first.probabilities(READING, ["small", "new"]) is None


def test_prices_that_changed_meanwhile_stay_changed() -> None:
    learner = Learner(base(), 1000)
    now = base()
    dear = replace(now.models["small"], price=Price(9.0, 9.0, 9.0))
    now = replace(now, models={**now.models, "small": dear})
    learner.learn("small", Z, 0.0, 1.0)
    again = learner.taught(learner.taught(now))
    assert again.models["small"].price.input == 9.0
    assert chances(again)["small"] < chances(base())["small"]
