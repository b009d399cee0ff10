"""Ablations: short runs of equal steps that differ in one thing, and what each costs to run.

Every variant starts from the same seed and sees the same rows in the same order; the
figure is the mean AUC of 'the model is right' over dev columns of a hundred rows or
more. The int8 graph is timed at batch 1 and 128 tokens in interleaved rounds on one
thread. So few steps say which way a choice leans, not what a long run would reach.

    python -m distill.ablation [--steps N] [--only NAME] [--threads N]

Goes on where it stopped: one line of ``<work>/ablations.jsonl`` a variant. Draws
``docs/encoder/latency_quality.png``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from distill.calibrate import predict
from distill.common import ROOT, say, work_dir
from distill.distil import softened
from distill.export import Served, foreign_pieces, int8
from distill.rows import Table, load
from distill.student import arguments, restore, run
from distill.voices import mean_auc
from sidecar.encoder.model import INPUT

BASE = ["--layers", "2", "--width", "256", "--inner", "768", "--demand", "32"]
VARIANTS: dict[str, tuple[list[str], bool]] = {  # what differs, with soft labels or not
    "2 x 256, K 32, distilled": ([], True),
    "labels alone": ([], False),
    "2 x 128": (["--width", "128", "--inner", "384"], True),
    "2 x 384": (["--width", "384", "--inner", "1152", "--heads", "6"], True),
    "1 layer": (["--layers", "1"], True),
    "4 layers": (["--layers", "4"], True),
    "K 8": (["--demand", "8"], True),
    "stride 1": (["--stride", "1"], True),
}
ROUNDS = 40


def graph(name: str) -> ort.InferenceSession:
    """The variant's int8 graph, exported as the product's is."""
    student, heads = restore(name)
    vocabulary = json.loads((work_dir() / "tokenizer.json").read_text())["model"]["vocab"]
    served = Served(student, heads, 0.0, foreign_pieces(vocabulary)).eval()
    folder = work_dir() / name
    int8(served, folder / "model.fused.onnx", folder / "model.int8.onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        str(folder / "model.int8.onnx"), options, providers=["CPUExecutionProvider"]
    )


def timed(graphs: dict[str, ort.InferenceSession]) -> dict[str, float]:
    """Median CPU milliseconds of one prompt of 128 tokens, rounds interleaved."""
    ids = np.random.default_rng(0).integers(2, 400, (1, 128)).astype(np.int32)
    spent: dict[str, list[float]] = {name: [] for name in graphs}
    for round_ in range(ROUNDS + 3):
        for name, one in graphs.items():
            began = time.process_time()
            one.run(None, {INPUT: ids})
            if round_ >= 3:
                spent[name].append((time.process_time() - began) * 1e3)
    return {name: round(statistics.median(t), 3) for name, t in spent.items()}


def quality(name: str, dev: Table) -> float:
    student, heads = restore(name)
    logits = predict(student, heads, dev)["columns"].astype(np.float32)
    return round(mean_auc(dev, logits, np.arange(len(dev.columns))), 4)


def plot(rows: list[dict[str, Any]], file: Path) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        chosen = row["variant"] == next(iter(VARIANTS))
        axes.plot(row["ms"], row["auc"], "*" if chosen else "o", markersize=14 if chosen else 7)
        label = f"{row['variant']}{' (shipped shape)' if chosen else ''}"
        axes.annotate(label, (row["ms"], row["auc"]), (6, 4), textcoords="offset points")
    axes.margins(x=0.25, y=0.15)
    axes.set(
        xlabel="int8, one prompt of 128 tokens: CPU ms, median",
        ylabel="mean AUC over dev columns",
        title=f"short runs of {rows[0]['steps']} steps: which way a choice leans",
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", action="append", choices=list(VARIANTS), default=[])
    args = parser.parse_args()
    file = work_dir() / "ablations.jsonl"
    rows = [json.loads(line) for line in file.open()] if file.exists() else []
    dev = load("dev")
    dev = dev.take(np.flatnonzero(~np.isnan(dev.scores).all(1)))
    for variant in args.only or VARIANTS:
        if any(r["variant"] == variant and r["steps"] == args.steps for r in rows):
            continue
        name = "ablation-" + variant.replace(" ", "").replace(",", "-")
        extra, soft = VARIANTS[variant]
        given = ["--name", name, "--threads", str(args.threads), "--steps", str(args.steps)]
        options = arguments(None).parse_args([*BASE, *extra, *given])
        began = time.monotonic()
        run(options, (lambda table: softened(table, "ensemble")) if soft else None)
        row = {
            "variant": variant,
            "steps": args.steps,
            "minutes": round((time.monotonic() - began) / 60, 1),
            "auc": quality(name, dev),
        }
        rows.append(row)
        with file.open("a") as out:
            out.write(json.dumps(row) + "\n")
        say(f"{variant}: mean AUC {row['auc']}")
    rows = [r for r in rows if r["steps"] == args.steps]
    torch.set_num_threads(1)
    names = {
        r["variant"]: "ablation-" + r["variant"].replace(" ", "").replace(",", "-") for r in rows
    }
    spent = timed({variant: graph(name) for variant, name in names.items()})
    rows = [row | {"ms": spent[row["variant"]]} for row in rows]
    plot(rows, ROOT / "docs" / "encoder" / "latency_quality.png")
    for row in rows:
        print(f"| {row['variant']} | {row['auc']:.4f} | {row['ms']:.2f} | {row['minutes']:.1f} |")


if __name__ == "__main__":
    main()
