"""Stage 3, ensemble: the voices that the student will learn from, weighed on dev rows.

A teacher's column logits and the lexical voice's are joined per source by a logistic
regression of the dev scores on both, ``s_t * teacher + s_l * lexical + t``, pooled over
the source's columns. Where the lexical voice is silent (another source's rows, columns
with few rows) or adds nothing, the teacher's logit alone is scaled by a regression of its
own. Several teachers are averaged first, each where it spoke; the hidden states to imitate
are those of the first that did. Writes
``<work>/ensemble/soft.npz`` in the teacher's format, ``test.npz`` to compare the student
with, and ``weights.json``.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from sklearn.linear_model import LogisticRegression

from distill.common import say, work_dir
from distill.rows import Table, load
from distill.teacher import PARTS
from distill.voices import Array, aligned, join, mean_auc, read


def weigh(dev: Table, teacher: Array, lexical: Array) -> dict[str, dict[str, list[float]]]:
    """Per source, by maximum likelihood over dev: ``alone`` [scale, shift] of the teacher, and
    ``both`` [teacher's scale, lexical scale, shift] where the lexical voice adds something."""
    out = {}
    for source in sorted({c["source"] for c in dev.columns}):
        mine = np.array([j for j, c in enumerate(dev.columns) if c["source"] == source])
        y, t, w = (v[:, mine].ravel() for v in (dev.scores, teacher, lexical))
        heard = ~np.isnan(y) & ~np.isnan(t)
        both = heard & ~np.isnan(w)
        if both.sum() < 200:
            continue
        right = y >= 0.5
        fit = LogisticRegression(C=1e3).fit(t[heard, None], right[heard])
        out[source] = {"alone": [*fit.coef_[0].tolist(), float(fit.intercept_[0])]}
        fit = LogisticRegression(C=1e3).fit(np.column_stack([t, w])[both], right[both])
        if fit.coef_[0].min() > 0:
            out[source]["both"] = [*fit.coef_[0].tolist(), float(fit.intercept_[0])]
        joined = join(dev.columns, teacher, lexical, out)
        voices = {"teacher": teacher, "lexical": lexical, "both": joined}
        found = ", ".join(f"{k} {mean_auc(dev, v, mine):.4f}" for k, v in voices.items())
        weights = {k: [round(x, 2) for x in v] for k, v in out[source].items()}
        say(f"{source}: mean AUC {found}; weights {weights}")
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
        if part == "pooled":  # spaces of their own: no mean of them means anything
            first = voices[0]
            for other in voices[1:]:
                first = np.where(np.isnan(first), other, first)
            return first
        heard = np.sum([~np.isnan(voice) for voice in voices], 0)
        total = np.sum([np.nan_to_num(voice) for voice in voices], 0)
        return np.where(heard > 0, total / np.maximum(heard, 1), np.nan).astype(np.float32)

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
