"""The rows that a library is built of: prompts with scores, or with a label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sidecar.encoder.abilities import Catalogue
from sidecar.errors import DataError
from sidecar.features import features_of
from sidecar.offline.rows import BadRow, Row, json_of, parse, read_lines

LABELS: Final = {"easy": 0.0, "hard": 1.0}


@dataclass(frozen=True, slots=True)
class Gathered:
    rows: list[Row]
    windows: list[str]
    hard: NDArray[np.float64]  # [n], NaN without a label
    scores: Mapping[str, NDArray[np.float64]]  # by canonical name, [n], NaN unknown
    bad: int
    silent: int

    @property
    def labelled(self) -> int:
        return int((~np.isnan(self.hard)).sum())


def gather(file: Path, catalogue: Catalogue, where: Mapping[str, str]) -> Gathered:
    """Rows that say something, by ``where``. Raises DataError where there is none.

    Scores go by the catalogue's name for their model; of a name that it does not know
    nothing can be decided, and it is left out.
    """
    rows: list[Row] = []
    hard: list[float] = []
    names: dict[str, str | None] = {}
    bad = silent = 0
    for number, line in read_lines(file):
        row = parse(line, number)
        if isinstance(row, BadRow):
            bad += 1
            continue
        value = json_of(line)
        if any(value.get(key) != wanted for key, wanted in where.items()):
            continue
        label = value.get("label")
        if label is not None and not (isinstance(label, str) and label in LABELS):
            raise DataError(f"{file}: line {number}: the label is easy or hard, not {label!r}")
        for model in row.scores:
            if model not in names:
                names[model] = catalogue.resolve(model.partition("@")[0])
        if label is None and not any(names[model] for model in row.scores):
            silent += 1
            continue
        rows.append(row)
        hard.append(np.nan if label is None else LABELS[label])
    if not rows:
        unknown = ", ".join(list(names)[:3])
        raise DataError(
            f'{file} has no row with "label": easy or hard, or with scores'
            + (f" of a model that the catalogue knows: of {unknown} it knows none" if names else "")
        )
    columns = {name: np.full(len(rows), np.nan) for name in sorted(filter(None, names.values()))}
    for i, row in enumerate(rows):
        # a name under several promptings has one column: the plain name's score wins
        for model, score in sorted(row.scores.items(), key=lambda item: "@" not in item[0]):
            name = names[model]
            if name is not None:
                columns[name][i] = score
    windows = [features_of(row.prompt).window for row in rows]
    return Gathered(rows, windows, np.array(hard), columns, bad, silent)
