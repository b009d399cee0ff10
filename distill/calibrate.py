"""Stage 5, calibrate: a run's abilities with their calibration folded in.

Per column a Platt fit on dev rows, ``s * logit + t``, pulled towards (1, 0) by a
normal prior because some columns have a hundred dev rows; s and t disappear into a
and b. A model's serving ability is its shared one, its calibration fitted over the
dev rows of all its sources, each source weighing the same. Writes
``<run>/abilities.json``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distill.common import canonical, say, work_dir
from distill.names import aliases
from distill.network import Heads, Student
from distill.rows import Table, batches, load
from distill.student import left_out, restore

Array = NDArray[np.float64]


def predict(student: Student, heads: Heads, table: Table, limit: int = 256) -> dict[str, Array]:
    """Every head's output over the table's rows, in order; column logits as ``columns``."""
    tokenizer = Tokenizer.from_file(str(work_dir() / "tokenizer.json"))
    out: dict[str, Array] = {}
    with torch.no_grad():
        for batch in batches(table, np.arange(len(table)), tokenizer, limit, 4096, None):
            found = heads(student(torch.from_numpy(batch.ids)))
            found["columns"] = heads.columns(found["demand"])
            for name, value in found.items():
                if name not in out:
                    out[name] = np.zeros((len(table), *value.shape[1:]))
                out[name][batch.index] = value.double().numpy()
    return out


def platt(
    logit: Array,
    outcome: Array,
    weight: Array,
    prior: float = 10.0,
    offset: Array | float = 0.0,
) -> tuple[float, float]:
    """(s, t) that maximise the likelihood of outcome under sigmoid(s * logit + t + offset)."""
    s, t = 1.0, 0.0
    for _ in range(30):
        p = 1 / (1 + np.exp(-(s * logit + t + offset)))
        gap, w = weight * (outcome - p), weight * p * (1 - p)
        gradient = np.array([gap @ logit - prior * (s - 1), gap.sum() - t])
        h = np.array([[w @ logit**2 + prior, w @ logit], [w @ logit, w.sum() + 1.0]])
        step = np.linalg.solve(h, gradient)
        s, t = s + step[0], t + step[1]
        if abs(step).max() < 1e-6:
            break
    return float(s), float(t)


def abilities(
    heads: Heads, table: Table, said: dict[str, Array], rasch_ability: Array
) -> dict[str, object]:
    """The catalogue of one run, from its heads and its outputs over the dev rows.

    Placed open rows count as one more source, with the outcome that their place gives a
    model of that ``rasch_ability`` [models] (see placement.py).
    """
    slope = heads.slopes().detach().double().numpy()
    shift = heads.easiness.detach().double().numpy()
    z, scores = said["demand"], table.scores
    rounded = lambda a: [round(float(x), 5) for x in a]  # noqa: E731
    scored = ~np.isnan(scores).all(1)
    placed = np.flatnonzero(~scored & ~np.isnan(table.difficulty))
    place = table.difficulty[placed].astype(np.float64).clip(1e-3, 1 - 1e-3)
    sources = np.unique(table.sources[scored])
    even = np.zeros(len(table))
    for source in sources:
        here = scored & (table.sources == source)
        even[here] = 1 / here.sum() / len(sources)
    models: dict[str, dict[str, object]] = {}
    for i in range(len(heads.models)):
        mine = [j for j, m in enumerate(heads.model_of.tolist()) if m == i]
        name = canonical(table.columns[mine[0]]["raw"])
        by_source: dict[str, dict[str, object]] = {}
        logits, offsets, outcomes, weights, rows = [], [], [], [], 0
        for j in mine:
            seen = ~np.isnan(scores[:, j])
            rows += int(seen.sum())
            a = slope[i] + heads.d_ability[j].detach().double().numpy()
            b = (shift[i] + heads.d_source[heads.source_of[j]] + heads.d_easiness[j]).item()
            if not seen.any():
                continue
            y = scores[seen, j].astype(np.float64)
            s, t = platt(z[seen] @ a + b, y, np.ones(len(y)))
            column = table.columns[j]
            source = column["source"] + (
                "." + column["raw"].split("@")[1]
                if "@" in column["raw"][1:] and not column["raw"].startswith("text-")
                else ""
            )
            by_source.setdefault(
                source, {"raw": column["raw"], "a": rounded(s * a), "b": round(s * b + t, 5)}
            )
            # The source's own ease is known here and unknown in serving: it stands aside.
            offsets.append(np.full(len(y), heads.d_source[heads.source_of[j]].item()))
            logits.append(z[seen] @ slope[i] + shift[i])
            outcomes.append(y)
            weights.append(np.full(len(y), min(len(y), 200) / len(y)))
        s, t = 1.0, 0.0
        if logits:
            expected = 1 / (1 + np.exp(np.log(place / (1 - place)) - float(rasch_ability[i])))
            offsets.append(np.zeros(len(placed)))
            logits.append(z[placed] @ slope[i] + shift[i])
            outcomes.append(expected)
            weights.append(np.full(len(placed), min(len(placed), 200) / max(len(placed), 1)))
            s, t = platt(
                np.concatenate(logits),
                np.concatenate(outcomes),
                np.concatenate(weights),
                offset=np.concatenate(offsets),
            )
        p = 1 / (1 + np.exp(-(s * (z @ slope[i] + shift[i]) + t)))
        models[name] = {
            "a": rounded(s * slope[i]),
            "b": round(float(s * shift[i] + t), 5),
            "strength": round(float(p @ even), 4),
            "rows": rows,
            "sources": by_source,
        }
    hard = 1 / (1 + np.exp(-said["difficulty"]))
    return {
        "format": 1,
        "demand": int(z.shape[1]),
        "typical_difficulty": round(float(hard @ even), 4),
        "models": models,
        "aliases": aliases(sorted(models)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="distilled")
    args = parser.parse_args()
    torch.set_num_threads(1)
    student, heads = restore(args.name)
    without = left_out(args.name)
    dev = load("dev", without)
    found = abilities(heads, dev, predict(student, heads, dev), load("train", without).ability)
    file = Path(work_dir() / args.name / "abilities.json")
    file.write_text(
        json.dumps(found, indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n"
    )
    say(f"{len(found['models'])} models, {len(found['aliases'])} aliases -> {file}")  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
