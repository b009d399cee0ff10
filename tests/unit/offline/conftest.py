"""A file of scored rows that a program wrote: hard prompts are those with long words."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

EASY = ("hi {}", "thanks {}", "say hello to {}", "what is a {}?", "spell the word {}")
HARD = (
    "Prove that every {} is isomorphic to a subgroup of a symmetric group, and bound its index.",
    "Derive the asymptotic variance of the {} estimator under heteroskedastic errors.",
)
NOUNS = ("cat", "group", "river", "ring", "lemma", "table", "field", "sensor", "market", "lattice")


def scored(n: int, seed: int = 1) -> list[dict[str, object]]:
    rng = random.Random(seed)
    rows: list[dict[str, object]] = []
    for i in range(n):
        hard = rng.random() < 0.5
        text = rng.choice(HARD if hard else EASY).format(rng.choice(NOUNS)) + f" ({i})"
        weak = float(rng.random() < (0.15 if hard else 0.9))
        strong = float(rng.random() < (0.85 if hard else 0.95))
        rows.append({"id": i, "prompt": text, "scores": {"tiny": weak, "huge": strong}})
    return rows


@pytest.fixture
def scored_file(tmp_path: Path) -> Path:
    return write(tmp_path / "scored.jsonl", scored(160))


def write(file: Path, rows: list[dict[str, object]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file
