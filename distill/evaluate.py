"""Stage 6, evaluate: a run on test rows and on whole sources that never trained.

Prints and appends one JSON object to ``<work>/evaluations.jsonl``. Pairs in source use
the source's own abilities; sources never trained on use what the product would have:
the serving abilities and the scalar difficulty, then a fit on 200 labels.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time

import numpy as np
import torch

from distill.calibrate import Array, predict
from distill.common import SEED, canonical, data_dir, read_gz, say, work_dir
from distill.rows import Table, load
from distill.student import left_out, restore
from distill.voices import aligned, read
from sidecar.offline.fit import fit_ability, prior_slope, sigmoid
from sidecar.offline.metrics import auc, curve, ece, reliability

PAIRS = (
    ("mmlu", "mixtral-8x7b-instruct", "gpt-4-1106-preview"),
    ("gsm8k", "Meta-Llama-3.1-8B-Instruct", "gpt-4o-2024-08-06"),
    ("mmlu_pro", "Mistral-7B-Instruct-v0.1", "Meta-Llama-3.1-70B-Instruct"),
    ("mmlu_pro", "Meta-Llama-3.1-8B-Instruct", "Meta-Llama-3.1-70B-Instruct"),
    ("llmrouter", "mistral-7b-instruct-v0.3", "llama-3.1-nemotron-51b-instruct"),
)
UNSEEN = (
    ("math_l5", "gpt-4o-mini-2024-07-18", "o1-mini-2024-09-12"),
    ("math_l5", "Meta-Llama-3.1-8B-Instruct", "gpt-4o-2024-08-06"),
    ("bbh_direct_vs_cot", "code-davinci-002 (direct)", "code-davinci-002 (chain of thought)"),
)


def raw_scores(split: str) -> dict[str, dict[str, float]]:
    return {
        r["id"]: r["scores"]
        for r in read_gz(data_dir() / "routing.jsonl.gz")
        if r["split"] == split
    }


def pair_scores(
    table: Table, raw: dict[str, dict[str, float]], source: str, weak: str, strong: str
) -> tuple[np.ndarray, Array, Array]:
    index, w, s = [], [], []
    for i in np.flatnonzero(table.sources == source):
        scores = raw[table.ids[i]]
        if weak in scores and strong in scores:
            index.append(i)
            w.append(scores[weak])
            s.append(scores[strong])
    return np.array(index), np.array(w), np.array(s)


def rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def mean(values: object) -> float | None:
    """The mean, or None of nothing (a smoke run has few rows)."""
    array = np.asarray(values, float)
    return rounded(array.mean()) if array.size else None


def figures(
    w: Array, s: Array, weak_p: Array, strong_p: Array, difficulty: Array
) -> dict[str, float | None]:
    """AUC of 'weak is right', AUC of 'needs strong', and APGR by each thing one can rank by."""
    needs = (w < 0.5) & (s >= 0.5)
    gap = strong_p - weak_p
    return {
        "rows": len(w),
        "auc_weak_right": rounded(auc(w >= 0.5, weak_p)),
        "auc_weak_right_difficulty": rounded(auc(w >= 0.5, -difficulty)),
        "auc_needs_strong": rounded(auc(needs, gap)),
        "apgr_gap": rounded(curve(w, s, gap).apgr),
        "apgr_weak": rounded(curve(w, s, -weak_p).apgr),
        "apgr_difficulty": rounded(curve(w, s, difficulty).apgr),
        "cpt50": rounded(curve(w, s, gap).cpt(0.5)),
        "cpt80": rounded(curve(w, s, gap).cpt(0.8)),
        "ece_weak": rounded(ece(weak_p, w)),
        "ece_strong": rounded(ece(strong_p, s)),
    }


def p(z: Array, spec: dict) -> Array:
    """One model's probability on demand vectors [n, K]."""
    return sigmoid(z @ np.array(spec["a"]) + spec["b"])


def unseen(
    models: dict, weak: str, strong: str, w: Array, s: Array, z: Array, hard: Array
) -> dict[str, float | None]:
    """A pair on a source that never trained: as served, then with 200 labels (10 draws)."""
    known = [models.get(canonical(m)) for m in (weak, strong)]
    if any(spec is None or not spec["rows"] for spec in known):
        # Models the catalogue lacks: a pair at a like distance stands in.
        stand_in = (
            ("mixtral-8x7b-instruct", "gpt-4-1106-preview"),
            ("llama-3.1-8b-instruct", "llama-3.1-70b-instruct"),
        )
        known = next(
            [models[a], models[b]] for a, b in stand_in if models[a]["rows"] and models[b]["rows"]
        )
    row = figures(w, s, p(z, known[0]), p(z, known[1]), hard)
    if len(w) < 300:
        return row
    few: dict[str, list] = {"auc": [], "apgr": [], "ece": []}
    prior = prior_slope([spec["a"] for spec in models.values()])
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(len(w))
        a, b = order[:200], order[200:]
        fits = [fit_ability(z[a], y[a], prior, m) for y, m in ((w, weak), (s, strong))]
        qw, qs = (sigmoid(z[b] @ f.slope + f.shift) for f in fits)
        few["auc"].append(auc(w[b] >= 0.5, qw))
        few["apgr"].append(curve(w[b], s[b], qs - qw).apgr)
        few["ece"].append(ece(qw, w[b]))
    return row | {f"{k}_200_labels": mean(v) for k, v in few.items()}


def teachers(table: Table) -> dict[str, Array]:
    """Column logits [rows, columns] of the voices that spoke of every test row, by name."""
    out = {}
    for voice in ("teacher", "ensemble"):
        if (work_dir() / voice / "test.npz").exists():
            logits = aligned(table.ids, read(voice, "test"), "columns").astype(np.float64)
            if np.isfinite(logits[~np.isnan(table.scores).all(1)]).all():
                out[voice] = logits
    return out


def apgr_of_pairs(table: Table, chances: Array) -> dict[str, float | None]:
    """By source, the mean APGR over its pairs of models, ranked by ``P(strong) - P(weak)``.

    ``chances`` [rows, columns], NaN where nobody speaks. Pairs are those with a hundred rows in
    common whose strong model is right on 12 % more of them. Over draws of the test rows the mean
    has two thirds of one pair's standard error (LOG.md, section 16).
    """
    found: dict[str, list[float]] = {}
    heard = ~np.isnan(table.scores) & ~np.isnan(chances)
    for source in sorted({c["source"] for c in table.columns}):
        mine = [j for j, c in enumerate(table.columns) if c["source"] == source]
        for weak, strong in itertools.permutations(mine, 2):
            both = heard[:, weak] & heard[:, strong]
            w, s = table.scores[both, weak], table.scores[both, strong]
            if both.sum() >= 100 and s.mean() - w.mean() > 0.12:
                gap = chances[both, strong] - chances[both, weak]
                found.setdefault(source, []).append(curve(w, s, gap).apgr)
    return {source: mean(apgr) for source, apgr in found.items()}


def evaluate(
    name: str,
    catalogue: dict,
    said: dict[str, dict[str, Array]],
    tables: dict[str, Table],
    without: tuple[str, ...] = (),
) -> dict:
    """Every figure of one run; sources in ``without`` are reported as never trained."""
    models = catalogue["models"]
    out: dict = {"run": name, "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    table, pred = tables["test"], said["test"]
    raw = raw_scores("test")
    hard = sigmoid(pred["difficulty"])
    for source, weak, strong in PAIRS:
        i, w, s = pair_scores(table, raw, source, weak, strong)
        if len(i) < 10:
            continue
        z = pred["demand"][i]
        if source in without:
            out[f"{source} {weak} -> {strong}"] = unseen(models, weak, strong, w, s, z, hard[i])
            continue
        specs = [models[canonical(m)] for m in (weak, strong)]
        own = [spec["sources"].get(source, spec) for spec in specs]
        key = f"{source} {weak} -> {strong}"
        out[key] = figures(w, s, p(z, own[0]), p(z, own[1]), hard[i])
        out[key]["reliability"] = {
            "weak": [[rounded(x) for x in row] for row in reliability(p(z, own[0]), w)],
            "strong": [[rounded(x) for x in row] for row in reliability(p(z, own[1]), s)],
        }
        served = figures(w, s, p(z, specs[0]), p(z, specs[1]), hard[i])
        out[key]["serving"] = {
            k: served[k] for k in ("auc_weak_right", "apgr_gap", "ece_weak", "ece_strong")
        }
    errors, floors, aucs = [], [], []
    chances = np.full(table.scores.shape, np.nan)
    chance = np.random.default_rng(SEED)
    voices = teachers(table)
    taught: dict[str, list] = {name: [] for name in voices}
    for j, column in enumerate(table.columns):
        seen = ~np.isnan(table.scores[:, j])
        if seen.sum() >= 100 and column["source"] not in without:
            spec = models[canonical(column["raw"])]
            tag = column["source"] + (
                "." + column["raw"].split("@")[1]
                if "@" in column["raw"] and not column["raw"].startswith("text-")
                else ""
            )
            spec = spec["sources"].get(tag, spec)
            y, q = table.scores[seen, j], p(pred["demand"][seen], spec)
            chances[seen, j] = q
            errors.append(ece(q, y))
            drawn = chance.random((20, len(q))) < q
            floors.append(np.mean([ece(q, one.astype(float)) for one in drawn]))
            aucs.append(auc(y >= 0.5, q) or 0.5)
            for voice, logits in voices.items():
                taught[voice].append(auc(y >= 0.5, logits[seen, j]) or 0.5)
    for voice, found in taught.items():
        out[f"mean_auc_columns_{voice}"] = mean(found)
        out[f"apgr_of_pairs_{voice}"] = apgr_of_pairs(table, sigmoid(voices[voice]))
    out["apgr_of_pairs"] = apgr_of_pairs(table, chances)
    out["mean_auc_columns"], out["mean_ece_columns"] = mean(aucs), mean(errors)
    out["mean_ece_columns_if_true"] = mean(floors)  # what so few rows show of true probabilities
    for kind, labels in (("task", table.task), ("domain", table.domain), ("tier", table.tier)):
        known = labels >= 0
        right = pred[kind].argmax(1) == labels
        given = known & np.isnan(table.scores).all(1)
        out[f"{kind}_accuracy"] = mean(right[known])
        out[f"{kind}_accuracy_prompts"] = mean(right[given])
    sure = (table.domain >= 0) & (table.domain_weight == 1)
    out["domain_accuracy_sure"] = mean((pred["domain"].argmax(1) == table.domain)[sure])
    solid = (table.tier >= 0) & (table.tier_weight == 1)
    out["tier_accuracy_given"] = mean((pred["tier"].argmax(1) == table.tier)[solid])
    table, pred, raw = tables["ood_test"], said["ood_test"], raw_scores("ood_test")
    vicuna = (table.sources == "vicuna_bench") & (table.task >= 0)
    out["task_accuracy_vicuna"] = mean((pred["task"].argmax(1) == table.task)[vicuna])
    hard = sigmoid(pred["difficulty"])
    for source, weak, strong in UNSEEN:
        i, w, s = pair_scores(table, raw, source, weak, strong)
        if len(i) >= 300:
            z = pred["demand"][i]
            out[f"{source} {weak} -> {strong}"] = unseen(models, weak, strong, w, s, z, hard[i])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="distilled")
    parser.add_argument("--note", default="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    student, heads = restore(args.name)
    tables = {split: load(split) for split in ("test", "ood_test")}
    said = {split: predict(student, heads, table) for split, table in tables.items()}
    catalogue = json.loads((work_dir() / args.name / "abilities.json").read_text())
    without = left_out(args.name)
    out = evaluate(args.name, catalogue, said, tables, without)
    out |= {"note": args.note, "without": list(without)}
    with (work_dir() / "evaluations.jsonl").open("a") as file:
        file.write(json.dumps(out) + "\n")
    print(json.dumps(out, indent=1))
    say("appended to evaluations.jsonl")


if __name__ == "__main__":
    main()
