"""Stage 3, ensemble: the voices that the student will learn from, weighed on dev rows.

A teacher's column logits and the lexical voice's are joined per source by a logistic
regression of the dev scores on both, ``s_t * teacher + s_l * lexical + t``, pooled over
the source's columns. A column of another source, or one on which the lexical voice is
silent, keeps the teacher's logit alone. Several teachers are averaged first. Writes
``<work>/ensemble/soft.npz`` in the teacher's format, ``test.npz`` to compare the student
with, and ``weights.json``.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from distill.common import say, work_dir
from distill.rows import Table, load
from distill.teacher import PARTS
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


def weigh(dev: Table, teacher: Array, lexical: Array) -> dict[str, tuple[float, float, float]]:
    """(teacher's weight, lexical weight, shift) of every source, by maximum likelihood."""
    out = {}
    for source in sorted({c["source"] for c in dev.columns}):
        mine = np.array([j for j, c in enumerate(dev.columns) if c["source"] == source])
        y, t, w = (v[:, mine].ravel() for v in (dev.scores, teacher, lexical))
        both = ~np.isnan(y) & ~np.isnan(t) & ~np.isnan(w)
        if both.sum() < 200:
            continue
        fit = LogisticRegression(C=1e3).fit(np.column_stack([t, w])[both], y[both] >= 0.5)
        s_t, s_l = fit.coef_[0].tolist()
        out[source] = (s_t, s_l, float(fit.intercept_[0]))
        joined = np.where(np.isnan(lexical), teacher, s_t * teacher + s_l * lexical)
        say(
            f"{source}: {s_t:.2f} x teacher + {s_l:.2f} x lexical; mean AUC "
            f"teacher {mean_auc(dev, teacher, mine):.4f}, "
            f"lexical {mean_auc(dev, lexical, mine):.4f}, both {mean_auc(dev, joined, mine):.4f}"
        )
    return out


def join(
    columns: list[dict[str, str]],
    teacher: Array,
    lexical: Array,
    weights: dict[str, tuple[float, float, float]],
) -> Array:
    """Column logits of both voices, where both speak."""
    out = teacher.copy()
    for j, column in enumerate(columns):
        if column["source"] in weights:
            s_t, s_l, shift = weights[column["source"]]
            both = ~np.isnan(teacher[:, j]) & ~np.isnan(lexical[:, j])
            out[both, j] = s_t * teacher[both, j] + s_l * lexical[both, j] + shift
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="ensemble")
    parser.add_argument("--teacher", action="append", default=[], help="average these runs")
    parser.add_argument("--lexical", default="lexical")
    args = parser.parse_args()
    teachers = args.teacher or ["teacher"]
    dev = load("dev")
    ids = read(teachers[0], "soft")["ids"].tolist()

    def mean(split: str, of: list[str], part: str) -> Array:
        voices = [aligned(of, read(t, split), part).astype(np.float32) for t in teachers]
        return np.concatenate(voices, 1) if part == "pooled" else np.mean(voices, 0)

    words = {split: read(args.lexical, split) for split in ("train", "dev")}
    spoken = [
        aligned(of, words[split], "columns").astype(np.float32)
        for split, of in (("train", ids), ("dev", dev.ids))
    ]
    weights = weigh(dev, mean("dev", dev.ids, "columns"), spoken[1])
    parts = {part: mean("soft", ids, part) for part in PARTS}
    parts["columns"] = join(dev.columns, parts["columns"], spoken[0], weights)
    folder = work_dir() / args.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.json").write_text(json.dumps(weights))
    halves = {part: values.astype(np.float16) for part, values in parts.items()}
    np.savez(folder / "soft.npz", ids=np.array(ids), **halves)
    test = load("test")
    both = join(
        test.columns,
        mean("test", test.ids, "columns"),
        aligned(test.ids, read(args.lexical, "test"), "columns").astype(np.float32),
        weights,
    )
    np.savez(folder / "test.npz", ids=np.array(test.ids), columns=both.astype(np.float16))
    say(f"soft labels of {len(ids)} rows -> {folder / 'soft.npz'}")


if __name__ == "__main__":
    main()
