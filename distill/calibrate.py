"""Stage 5, calibrate: a run's abilities with their calibration folded in.

Per column a Platt fit on dev rows, ``s * logit + t``, pulled towards (1, 0) by a
normal prior because some columns have a hundred dev rows; s and t disappear into a
and b.

A model's *serving* ability, the one for prompts of no known source, is fitted again
over frozen demand vectors: a logistic regression pulled to the trained (a, b), over dev
rows and a sample of train rows, every source weighing the same and its own ease (the
column's source offset) standing aside, with the placed open prompts as one more source
(placement.py). Writes ``<run>/abilities.json`` and the out-of-distribution midpoint,
``<run>/ood.json``: the logit that 95 % of strange texts exceed.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distill.common import SEED, canonical, say, work_dir
from distill.names import aliases
from distill.network import Heads, Student
from distill.rows import Table, batches, encode, load, pad
from distill.strange import strange
from distill.student import left_out, restore
from sidecar.features import features_of

Array = NDArray[np.float64]


SERVING_ROWS = 300  # what every source weighs in a serving ability
PLACED_ROWS = 6000  # what the placed open prompts weigh: LOG.md, section 8
SOURCE_HOLD = 20.0  # how firmly a source's own ease for one model is held at zero


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


def logistic(
    z: Array,
    y: Array,
    weight: Array,
    offset: Array,
    group: NDArray[np.int64],
    first: Array,
    ridge: float,
) -> Array:
    """Weights [K + 1] of a weighted logistic regression pulled to ``first`` by ``ridge``.

    Every ``group`` from 1 on has an ease of its own, held near zero by SOURCE_HOLD; group 0
    has none.
    """
    own = np.eye(int(group.max()) + 1)[group][:, 1:]
    x = np.column_stack([z, np.ones(len(z)), own])
    penalty = np.r_[np.full(z.shape[1], ridge), 0.1, np.full(own.shape[1], SOURCE_HOLD)]
    first = np.r_[first, np.zeros(own.shape[1])]
    w = first.copy()
    for _ in range(40):
        p = 1 / (1 + np.exp(-np.clip(x @ w + offset, -30, 30)))
        gradient = x.T @ (weight * (p - y)) + penalty * (w - first)
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        w = w - step / max(1.0, np.abs(step).max())
        if np.abs(step).max() < 1e-5:
            break
    return w[: z.shape[1] + 1]


def column_abilities(heads: Heads, table: Table, z: Array) -> list[tuple[str, Array, float] | None]:
    """(source, a, b) of every column after its Platt fit on dev rows; None without rows."""
    slope = heads.slopes().detach().double().numpy()
    shift = heads.easiness.detach().double().numpy()
    out: list[tuple[str, Array, float] | None] = []
    for j, column in enumerate(table.columns):
        seen = ~np.isnan(table.scores[:, j])
        if not seen.any():
            out.append(None)
            continue
        i = int(heads.model_of[j])
        a = slope[i] + heads.d_ability[j].detach().double().numpy()
        b = (shift[i] + heads.d_source[heads.source_of[j]] + heads.d_easiness[j]).item()
        y = table.scores[seen, j].astype(np.float64)
        s, t = platt(z[seen] @ a + b, y, np.ones(len(y)))
        again = column["raw"].partition("@")[2] if not column["raw"].startswith("text-") else ""
        out.append((column["source"] + (f".{again}" if again else ""), s * a, s * b + t))
    return out


def serving_ability(
    heads: Heads, model: int, tables: list[Table], zs: list[Array], rasch: float
) -> tuple[Array, float, int]:
    """(a, b, scored rows) of one model for prompts of no known source."""
    first = np.r_[heads.slopes()[model].detach().double().numpy(), heads.easiness[model].item()]
    parts: list[tuple[Array, Array, float, float, int]] = []  # z, y, weight, offset, group
    rows = 0
    mine = [j for j, m in enumerate(heads.model_of.tolist()) if m == model]
    several = len({tables[0].columns[j]["source"] for j in mine}) > 1
    for j in mine:
        ease = heads.d_source[heads.source_of[j]].item()
        if several:  # what one source says of the model against its others stands aside too
            ease += heads.d_easiness[j].item()
        for table, z in zip(tables, zs, strict=True):
            seen = ~np.isnan(table.scores[:, j])
            rows += int(seen.sum())
            if seen.any():
                y = table.scores[seen, j].astype(np.float64)
                parts.append((z[seen], y, SERVING_ROWS / len(tables), ease, 1 + mine.index(j)))
    for table, z in zip(tables, zs, strict=True):
        open_rows = np.isnan(table.scores).all(1) & ~np.isnan(table.difficulty)
        if open_rows.any():
            place = table.difficulty[open_rows].astype(np.float64).clip(1e-3, 1 - 1e-3)
            y = 1 / (1 + np.exp(np.log(place / (1 - place)) - rasch))
            parts.append((z[open_rows], y, PLACED_ROWS / len(tables), 0.0, 0))
    if not rows or not parts:
        return first[:-1], float(first[-1]), 0
    w = logistic(
        np.concatenate([z for z, *_ in parts]),
        np.concatenate([y for _, y, *_ in parts]),
        np.concatenate([np.full(len(y), min(n, len(y)) / len(y)) for _, y, n, _, _ in parts]),
        np.concatenate([np.full(len(y), ease) for _, y, _, ease, _ in parts]),
        np.concatenate([np.full(len(y), group) for _, y, *_, group in parts]),
        first,
        ridge=1.0,
    )
    return w[:-1], float(w[-1]), rows


def abilities(
    heads: Heads, tables: list[Table], said: list[dict[str, Array]], rasch: Array
) -> dict[str, object]:
    """The catalogue of one run; the first table is dev, ``rasch`` each model's ability."""
    dev, z = tables[0], said[0]["demand"]
    zs = [one["demand"] for one in said]
    rounded = lambda a: [round(float(x), 5) for x in a]  # noqa: E731
    scored = ~np.isnan(dev.scores).all(1)
    even = np.zeros(len(dev))
    for source in np.unique(dev.sources[scored]):
        here = scored & (dev.sources == source)
        even[here] = 1 / here.sum()
    even /= even.sum()
    columns = column_abilities(heads, dev, z)
    models: dict[str, dict[str, object]] = {}
    for i in range(len(heads.models)):
        mine = [j for j, m in enumerate(heads.model_of.tolist()) if m == i]
        a, b, rows = serving_ability(heads, i, tables, zs, float(rasch[i]))
        by_source: dict[str, dict[str, object]] = {}
        for j in mine:
            found = columns[j]
            if found:
                spec = {"raw": dev.columns[j]["raw"], "a": rounded(found[1])}
                by_source.setdefault(found[0], spec | {"b": round(found[2], 5)})
        p = 1 / (1 + np.exp(-(z @ a + b)))
        models[canonical(dev.columns[mine[0]]["raw"])] = {
            "a": rounded(a),
            "b": round(b, 5),
            "strength": round(float(p @ even), 4),
            "rows": rows,
            "sources": by_source,
        }
    hard = 1 / (1 + np.exp(-said[0]["difficulty"]))
    return {
        "format": 1,
        "demand": int(z.shape[1]),
        "typical_difficulty": round(float(hard @ even), 4),
        "models": models,
        "aliases": aliases(sorted(models)),
    }


def sample(table: Table, rng: np.random.Generator) -> Table:
    """Up to 1,000 rows a scored source, and 3,000 placed ones."""
    keep = []
    scored = ~np.isnan(table.scores).all(1)
    for source in np.unique(table.sources[scored]):
        keep.append(rng.permutation(np.flatnonzero(scored & (table.sources == source)))[:1000])
    placed = np.flatnonzero(~scored & ~np.isnan(table.difficulty))
    keep.append(rng.permutation(placed)[:3000])
    return table.take(np.sort(np.concatenate(keep)))


def strange_midpoint(student: Student, heads: Heads, count: int = 400) -> float:
    """The out-of-distribution logit that 95 % of strange texts exceed."""
    tokenizer = Tokenizer.from_file(str(work_dir() / "tokenizer.json"))
    rng = random.Random(SEED + 1)
    ids = encode(tokenizer, [features_of(strange(rng)).window for _ in range(count)], 256)
    with torch.no_grad():
        logits = [heads(student(torch.from_numpy(pad([one]))))["ood"].item() for one in ids]
    return float(np.quantile(logits, 0.05))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="distilled")
    args = parser.parse_args()
    torch.set_num_threads(1)
    student, heads = restore(args.name)
    without = left_out(args.name)
    dev, train = load("dev", without), load("train", without)
    some = sample(train, np.random.default_rng(SEED))
    tables = [dev, some]
    said = [predict(student, heads, table) for table in tables]
    found = abilities(heads, tables, said, train.ability)
    midpoint = strange_midpoint(student, heads)
    ordinary = float((said[0]["ood"] > midpoint).mean())
    (work_dir() / args.name / "ood.json").write_text(json.dumps({"midpoint": midpoint}))
    say(f"ood midpoint {midpoint:.2f}: {ordinary:.2%} of dev rows are above it")
    file = Path(work_dir() / args.name / "abilities.json")
    file.write_text(
        json.dumps(found, indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n"
    )
    say(f"{len(found['models'])} models, {len(found['aliases'])} aliases -> {file}")  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
