"""Texts near the training rows for the teacher alone to label.

A row says what its own text demands and nothing of a text beside it. Pieces and
mixtures of rows, with an answer of the teacher's for each, show a student more of the
function it imitates (what that brought so far: LOG.md, section 14). What is cut or
swapped changes the demand, so a variant has no label but the teacher's (contrast
:mod:`distill.augment`, whose changes keep the labels).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

from distill.common import SEED

SOURCE = "variant"
LONGEST = 900  # characters of one: the teacher's time goes into many texts and not into long ones
_OPTION = re.compile(r"^\s*\(?[A-J][.):]\s+.+$", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[^\W\d_]{3,}")


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


def swapped(rng: random.Random, text: str, other: str) -> str:
    """Every longer word replaced, with a chance of a tenth to two fifths, by one of ``other``'s."""
    words = [w for w in _WORD.findall(other) if len(w) > 3]
    if not words:
        return text
    rate = rng.uniform(0.1, 0.4)
    return _WORD.sub(lambda m: rng.choice(words) if rng.random() < rate else m.group(0), text)


def joined(rng: random.Random, text: str, other: str) -> str:
    """Sentences of two texts in one, the beginning of the one and the end of the other."""
    first, second = _SENTENCE.split(text), _SENTENCE.split(other)
    head = first[: rng.randint(1, len(first))]
    tail = second[-rng.randint(1, len(second)) :]
    return " ".join([*head, *tail])


def variant(rng: random.Random, text: str, other: str) -> str:
    """One text near ``text``, with words of ``other`` in some; perhaps nothing is left of it."""
    if rng.random() < 0.5:
        text = fewer_options(rng, text)
    kind = rng.random()
    if kind < 0.15:
        text = joined(rng, text, other)
    if kind < 0.45 or len(text) > LONGEST:
        text = span(rng, text)
    elif kind < 0.65:
        text = thinned(rng, text)
    if kind > 0.6 or rng.random() < 0.2:
        text = swapped(rng, text, other)
    return text.strip()


def rows(parents: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """``count`` unlabelled rows, as often of scored parents as of the others; a parent's
    words are mixed with those of another of its source, so that they stay near its subject."""
    rng = random.Random(SEED + 7)
    scored = [r for r in parents if r["scores"]]
    others = [r for r in parents if not r["scores"]]
    alike: dict[str, list[str]] = {}
    for row in parents:
        alike.setdefault(row["source"], []).append(row["prompt"])
    out: list[dict[str, Any]] = []
    number = 0
    while len(out) < count and number < 20 * count:  # a few texts have no variant at all
        kind = scored if number % 2 and scored else others or scored
        parent = kind[rng.randrange(len(kind))]
        number += 1
        text = variant(rng, parent["prompt"], rng.choice(alike[parent["source"]]))
        if not 8 <= len(text) <= LONGEST or text == parent["prompt"].strip():
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
