"""What the voices said, as arrays: reading, putting in order, joining.

A voice is a run that wrote ``<work>/<run>/<split>.npz`` with ``ids`` and, per part, one
row an id; NaN where it was silent. Ids, not places, tie a voice to a table: rows may be
added or left out after it has spoken.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distill.common import work_dir
from distill.rows import Table
from sidecar.offline.metrics import auc

Array = NDArray[np.float32]


def read(folder: str, split: str) -> dict[str, NDArray]:
    with np.load(work_dir() / folder / f"{split}.npz") as file:
        return {name: file[name] for name in file.files}


def aligned(ids: list[str], said: dict[str, NDArray], part: str) -> NDArray:
    """``said[part]`` in the order of ``ids``, NaN for rows it does not know."""
    where = {one: i for i, one in enumerate(said["ids"].tolist())}
    values = said[part]
    out = np.full((len(ids), *values.shape[1:]), np.nan, np.float16)
    known = [(i, where[one]) for i, one in enumerate(ids) if one in where]
    if known:
        mine, theirs = np.array(known).T
        out[mine] = values[theirs]
    return out


def mean_auc(table: Table, logits: Array, columns: NDArray[np.int64]) -> float:
    """Mean AUC of 'the model is right' over the columns that have a hundred rows."""
    found = []
    for j in columns:
        seen = ~np.isnan(table.scores[:, j]) & ~np.isnan(logits[:, j])
        if seen.sum() >= 100:
            found.append(auc(table.scores[seen, j] >= 0.5, logits[seen, j].astype(float)))
    return float(np.mean([f for f in found if f is not None])) if found else float("nan")


def join(
    columns: list[dict[str, str]],
    teacher: Array,
    lexical: Array,
    weights: dict[str, dict[str, list[float]]],
) -> Array:
    """Column logits of both voices where both speak, else the teacher's to scale."""
    out = teacher.copy()
    for j, column in enumerate(columns):
        found = weights.get(column["source"])
        if found:
            scale, shift = found["alone"]
            out[:, j] = scale * teacher[:, j] + shift
            if "both" in found:
                s_t, s_l, shift = found["both"]
                both = ~np.isnan(lexical[:, j])
                out[both, j] = s_t * teacher[both, j] + s_l * lexical[both, j] + shift
    return out
