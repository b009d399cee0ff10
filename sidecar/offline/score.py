"""Rows in, readings and probabilities out, in the same order and in constant memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sidecar.encoder.abilities import Catalogue
from sidecar.encoder.tokens import Ids
from sidecar.features import features_of
from sidecar.offline.backends import Encoder
from sidecar.offline.rows import BadRow, Row
from sidecar.types import DOMAINS, TASKS, Reading

CHUNK: Final = 512  # rows looked at together, so that like lengths share a batch
BATCH: Final = 16


def chunks(rows: Iterable[Row | BadRow], size: int = CHUNK) -> Iterator[list[Row | BadRow]]:
    """``rows`` in lists of ``size``, the last one shorter."""
    source = iter(rows)
    while part := list(itertools.islice(source, size)):
        yield part


def read_windows(encoder: Encoder, windows: Sequence[str]) -> list[Reading]:
    """One reading a window, in order, batched with others of like length."""
    ids: list[Ids] = encoder.tokens.encode(windows)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found: list[Reading | None] = [None] * len(ids)
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        for i, reading in zip(part, encoder.read_ids([ids[i] for i in part]), strict=True):
            found[i] = reading
    return [reading for reading in found if reading is not None]


def score_rows(
    rows: Iterable[Row | BadRow],
    read: Callable[[Sequence[str]], list[Reading]],
    catalogue: Catalogue,
    digits: int = 4,
) -> Iterator[dict[str, Any]]:
    """One output object a row, in order: CONTRACT.md's ``score`` row, or ``{id, error}``.

    An empty prompt is read like any other, with its ``ood`` at 1: nothing was said.
    """
    names = catalogue.names
    for part in chunks(rows):
        features = [features_of(row.prompt) if isinstance(row, Row) else None for row in part]
        said = iter(read([f.window for f in features if f]))
        for row, seen in zip(part, features, strict=True):
            if isinstance(row, BadRow):
                yield {"id": row.id, "error": row.error}
            else:
                reading = next(said)
                if seen is not None and seen.empty:
                    reading = replace(reading, ood=1.0)
                yield {"id": row.id, **described(reading, catalogue, names, digits)}


def described(
    reading: Reading, catalogue: Catalogue, names: Sequence[str], digits: int = 4
) -> dict[str, Any]:
    """One reading as the object that ``score`` prints."""
    suffices = catalogue.probabilities(reading, names)
    return {
        "difficulty": round(reading.difficulty, 6),
        "demand": [round(x, 5) for x in reading.demand or ()],
        "suffices": {n: round(p, digits) for n, p in zip(names, suffices, strict=True)},
        "task": reading.task,
        "task_probs": {t: round(p, digits) for t, p in zip(TASKS, reading.task_probs, strict=True)},
        "domain": reading.domain,
        "domain_probs": {
            d: round(p, digits) for d, p in zip(DOMAINS, reading.domain_probs, strict=True)
        },
        "tier": reading.tier,
        "ood": round(reading.ood, digits),
        "version": reading.version,
    }


def demands(
    rows: Sequence[Row], read: Callable[[Sequence[str]], list[Reading]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Demand vectors [n, K] and difficulties [n] of rows, empty prompts read as they are."""
    vectors: list[tuple[float, ...]] = []
    difficulties: list[float] = []
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        for reading in read([features_of(row.prompt).window for row in part]):
            vectors.append(reading.demand or ())
            difficulties.append(reading.difficulty)
    return np.array(vectors), np.array(difficulties)
