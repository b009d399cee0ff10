"""Voices are tied to rows by id, joined where both speak, and the goals are judged as stated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from distill import report, voices

NAN = float("nan")
COLUMNS = [{"source": "mmlu", "raw": "a"}, {"source": "gsm8k", "raw": "a"}]


def test_a_voice_speaks_of_the_rows_it_knows_in_the_order_it_is_asked() -> None:
    said = {"ids": np.array(["x", "y", "z"]), "columns": np.array([[1.0], [2.0], [3.0]])}
    found = voices.aligned(["z", "new", "x"], said, "columns")
    assert found[0, 0] == 3
    assert np.isnan(found[1, 0])
    assert found[2, 0] == 1


def test_voices_are_joined_where_both_speak_and_the_teacher_is_scaled_elsewhere() -> None:
    teacher = np.array([[1.0, 2.0], [4.0, 6.0]], np.float32)
    lexical = np.array([[3.0, NAN], [NAN, NAN]], np.float32)
    weights = {"mmlu": {"alone": [0.5, 0.0], "both": [0.5, 2.0, 1.0]}}
    found = voices.join(COLUMNS, teacher, lexical, weights)
    assert found[0, 0] == 0.5 * 1 + 2 * 3 + 1
    assert found[1, 0] == 0.5 * 4
    assert found[:, 1].tolist() == [2, 6]  # no weights for its source
    assert teacher[0, 0] == 1  # what was given is left alone


@pytest.mark.parametrize(
    ("reached", "at_most", "met"),
    [(0.8, False, True), (0.7, False, False), (0.7, True, True), (0.8, True, False)],
)
def test_a_goal_is_met_on_its_own_side(reached: float, at_most: bool, met: bool) -> None:
    assert report.row("what", reached, 0.75, "command", at_most)["met"] is met


def test_what_nothing_measured_is_neither_met_nor_missed() -> None:
    found = report.rows({"run": "x"}, {}, {}, {})
    assert {one["met"] for one in found} == {None}
    assert all(one["by"].startswith("python -m ") for one in found)


def test_the_committed_evaluation_is_of_the_shipped_encoder() -> None:
    root = Path(__file__).parents[3]
    manifest = json.loads((root / "sidecar/encoder/files/manifest.json").read_text())
    found = json.loads((root / "distill/evaluation.json").read_text())
    assert found["encoder"] == manifest["version"]
    assert len(found["goals"]) > 30
