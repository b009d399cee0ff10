"""Texts near the training rows for the teacher alone to label.

A row says what its own text demands and nothing of a text beside it. A student that
reads the same rows twenty times learns them by heart; pieces of them, with an answer of
the teacher's for each, show it more of the function it imitates. What is cut changes the
demand, so a variant has no label but the teacher's (contrast :mod:`distill.augment`,
whose changes keep the labels).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from distill.common import SEED

SOURCE = "variant"
_OPTION = re.compile(r"^\s*\(?[A-J][.):]\s+.+$", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def fewer_options(rng: random.Random, text: str) -> str:
    """A multiple-choice question with some of its options, or with none."""
    found = [m.group(0).strip() for m in _OPTION.finditer(text)]
    if len(found) < 3:
        return text
    stem = text[: next(_OPTION.finditer(text)).start()].rstrip()
    kept = rng.sample(found, rng.choice((0, 2, 2, 3, max(2, len(found) - 1))))
    return "\n".join([stem, *kept])


def span(rng: random.Random, text: str) -> str:
    """A run of sentences; of a single sentence, a run of words."""
    pieces = _SENTENCE.split(text)
    if len(pieces) < 3:
        pieces = text.split(" ")
    if len(pieces) < 4:
        return text
    size = rng.randint(max(2, len(pieces) // 3), len(pieces) - 1)
    first = rng.randint(0, len(pieces) - size)
    return " ".join(pieces[first : first + size])


def thinned(rng: random.Random, text: str) -> str:
    """Every word left out with a chance of a tenth to a fourth, white space as it was."""
    rate = rng.uniform(0.1, 0.25)
    return re.sub(r"\S+ ?", lambda m: "" if rng.random() < rate else m.group(0), text)


def variant(rng: random.Random, text: str) -> str:
    """One text near ``text``; the empty string where nothing of it is left."""
    if rng.random() < 0.5:
        text = fewer_options(rng, text)
    kind = rng.random()
    if kind < 0.4 or len(text) > 1500:
        text = span(rng, text)
    elif kind < 0.7:
        text = thinned(rng, text)
    return text.strip()


def rows(parents: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Up to ``count`` unlabelled rows: of scored parents first one each, then of the others."""
    rng = random.Random(SEED + 7)
    scored = [r for r in parents if r["scores"]]
    others = [r for r in parents if not r["scores"]]
    order = rng.sample(scored, len(scored)) + rng.sample(others, len(others))
    out: list[dict[str, Any]] = []
    for number, parent in enumerate(order):
        if len(out) == count:
            break
        text = variant(rng, parent["prompt"])
        if len(text) < 8 or text == parent["prompt"].strip():
            continue
        out.append(
            {
                "id": f"{SOURCE}-{number}",
                "source": SOURCE,
                "split": "train",
                "prompt": text,
                "scores": {},
                "raw_task": None,
                "task": -1,
                "domain": -1,
                "domain_weak": False,
                "tier": -1,
                "tier_weak": False,
                "bad_label": False,
            }
        )
    return out
