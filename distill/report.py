"""Stage 9, report: every row of the goals with what was reached and the command that says so.

Reads the last evaluation of a run, ``robustness.json``, ``fidelity.json`` and the last
``encoder`` row of ``bench/results.jsonl`` whose encoder is the bundle's; writes
``evaluation.json`` beside this file and the reliability diagrams. A figure that nothing
measured is null and says which command would: none is typed in by hand.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from distill.common import ROOT, say, work_dir
from sidecar.encoder.bundle import Bundle

MMLU = "mmlu mixtral-8x7b-instruct -> gpt-4-1106-preview"
GSM8K = "gsm8k Meta-Llama-3.1-8B-Instruct -> gpt-4o-2024-08-06"
PRO = "mmlu_pro Mistral-7B-Instruct-v0.1 -> Meta-Llama-3.1-70B-Instruct"
ROUTER = "llmrouter mistral-7b-instruct-v0.3 -> llama-3.1-nemotron-51b-instruct"
MINI = "math_l5 gpt-4o-mini-2024-07-18 -> o1-mini-2024-09-12"
LLAMA = "math_l5 Meta-Llama-3.1-8B-Instruct -> gpt-4o-2024-08-06"
BBH = "bbh_direct_vs_cot code-davinci-002 (direct) -> code-davinci-002 (chain of thought)"

# what, where in the evaluation, goal; the second letter of a path is inside a pair
GOALS: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("mmlu mixtral-8x7b -> gpt-4-1106, AUC", (MMLU, "auc_weak_right"), 0.74),
    ("mmlu mixtral-8x7b -> gpt-4-1106, APGR", (MMLU, "apgr_gap"), 0.72),
    ("gsm8k llama-3.1-8b -> gpt-4o, AUC", (GSM8K, "auc_weak_right"), 0.69),
    ("gsm8k llama-3.1-8b -> gpt-4o, APGR", (GSM8K, "apgr_gap"), 0.70),
    ("mmlu_pro mistral-7b -> llama-3.1-70b, AUC", (PRO, "auc_weak_right"), 0.73),
    ("mmlu_pro mistral-7b -> llama-3.1-70b, APGR", (PRO, "apgr_gap"), 0.60),
    ("llmrouter mistral-7b -> nemotron-51b, AUC", (ROUTER, "auc_weak_right"), 0.78),
    ("llmrouter mistral-7b -> nemotron-51b, APGR", (ROUTER, "apgr_gap"), 0.72),
    ("math_l5 gpt-4o-mini -> o1-mini (never trained on), APGR", (MINI, "apgr_gap"), 0.58),
    ("math_l5 llama-3.1-8b -> gpt-4o (never trained on), APGR", (LLAMA, "apgr_gap"), 0.58),
    ("math_l5 gpt-4o-mini, AUC with 200 labels", (MINI, "auc_200_labels"), 0.68),
    ("math_l5 llama-3.1-8b, AUC with 200 labels", (LLAMA, "auc_200_labels"), 0.68),
    ("bbh direct -> chain of thought (never trained on), APGR", (BBH, "apgr_gap"), 0.62),
    ("bbh, AUC with 200 labels", (BBH, "auc_200_labels"), 0.68),
    ("task accuracy, test", ("task_accuracy",), 0.92),
    ("task accuracy, vicuna_bench by its categories", ("task_accuracy_vicuna",), 0.70),
    ("domain accuracy, test", ("domain_accuracy",), 0.97),
    ("domain accuracy, test, rows whose label is sure", ("domain_accuracy_sure",), 0.97),
    ("tier accuracy, labels given by the source", ("tier_accuracy_given",), 0.88),
)
LIMITS: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("calibration error, mean of the columns of test sources", ("mean_ece_columns",), 0.03),
    ("calibration error after 200 labels, math_l5 gpt-4o-mini", (MINI, "ece_200_labels"), 0.05),
    ("calibration error after 200 labels, math_l5 llama-3.1-8b", (LLAMA, "ece_200_labels"), 0.05),
    ("calibration error after 200 labels, bbh", (BBH, "ece_200_labels"), 0.05),
)
SPEED: tuple[tuple[str, str, float], ...] = (
    ("int8, one prompt of 128 tokens, ms", "int8_1x128_ms", 2.5),
    ("features and tokens, 128 tokens, ms", "features_and_tokens_128_tokens_ms", 0.4),
    ("features and tokens, 200,000 characters, ms", "features_and_tokens_200000_chars_ms", 1.0),
    ("int8, 16 prompts of 64 tokens, ms", "int8_16x64_ms", 12.0),
)


def inside(found: dict[str, Any], path: tuple[str, ...]) -> float | None:
    for key in path:
        found = found.get(key) or {}
    return found if isinstance(found, float) else None


def row(
    what: str, reached: float | None, goal: float, command: str, at_most: bool = False
) -> dict[str, Any]:
    met = None if reached is None else reached <= goal if at_most else reached >= goal
    sign = "at most" if at_most else "at least"
    return {"what": what, "goal": f"{sign} {goal}", "reached": reached, "met": met, "by": command}


def rows(
    evaluation: dict[str, Any],
    robustness: dict[str, Any],
    fidelity: dict[str, Any],
    bench: dict[str, Any],
) -> list[dict[str, Any]]:
    """The goals, in their order."""
    by = f"python -m distill.evaluate --name {evaluation.get('run')}"
    out = [row(what, inside(evaluation, path), goal, by) for what, path, goal in GOALS]
    out += [row(what, inside(evaluation, path), goal, by, True) for what, path, goal in LIMITS]
    mine, theirs = (evaluation.get(f"mean_auc_columns{v}") for v in ("", "_teacher"))
    ratio = round(mine / theirs, 4) if mine and theirs else None
    out.append(row("student against teacher, mean AUC", ratio, 0.98, by))
    by = "python -m bench.encoder"
    out += [row(what, bench.get(key), goal, by, True) for what, key, goal in SPEED]
    out.append(row("all-MiniLM-L6-v2 int8 over ours", bench.get("minilm_over_ours"), 8.0, by))
    by = "python -m distill.fidelity"
    out.append(row("int8 on fp32's side", fidelity.get("int8_same_side"), 0.97, by))
    out.append(row("fp16 on fp32's side", fidelity.get("fp16_same_side"), 0.97, by))
    by = "python -m distill.robustness"
    flips = robustness.get("flips", {})
    out += [row(f"flips, {change}", share, 0.05, by, True) for change, share in flips.items()]
    out += [
        row(name, share, 0.03, by, True)
        for name, share in robustness.items()
        if name.startswith(("pulled", "pushed"))
    ]
    return out


def diagrams(evaluation: dict[str, Any], file: Path) -> None:
    """Reliability of both models of every pair of the test sources, one panel a pair."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    pairs = [(n, f) for n, f in evaluation.items() if isinstance(f, dict) and "reliability" in f]
    if not pairs:
        return
    figure = Figure(figsize=(4 * len(pairs), 4.2), layout="constrained")
    for axes, (name, found) in zip(
        figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True
    ):
        axes.plot([0, 1], [0, 1], "--", color="grey")
        source, weak, _, strong = name.split()
        for side, label in (("weak", weak), ("strong", strong)):
            share, said, was = zip(*found["reliability"][side], strict=True)
            axes.plot(said, was, "-", alpha=0.4)
            sizes = [400 * s + 8 for s in share]
            axes.scatter(said, was, s=sizes, label=f"{label[:24]}, ECE {found[f'ece_{side}']:.3f}")
        axes.set(title=f"{source}, {found['rows']} rows", xlabel="probability said")
        axes.legend(fontsize=8)
    figure.supylabel("share that sufficed")
    figure.savefig(file, dpi=110)


def measured(version: str) -> dict[str, Any]:
    """The figures of the last ``bench.encoder`` run over this encoder, or none."""
    file = ROOT / "bench" / "results.jsonl"
    found = [json.loads(line) for line in file.open(encoding="utf-8")]
    mine = [
        r["figures"]
        for r in found
        if r["bench"] == "encoder" and r["figures"].get("encoder") == version
    ]
    return mine[-1] if mine else {}


def stored(name: str, version: str) -> dict[str, Any]:
    """``<work>/<name>.json``, unless it is of another encoder."""
    file = work_dir() / f"{name}.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    return found if found.get("encoder") == version else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="distilled")
    parser.add_argument("--bundle", type=Path, help="a bundle's folder; the packaged one")
    parser.add_argument("--to", type=Path, help="a folder for everything; the repository's places")
    args = parser.parse_args()
    bundle = Bundle.load(args.bundle)
    lines = [json.loads(line) for line in (work_dir() / "evaluations.jsonl").open()]
    evaluation = next(line for line in reversed(lines) if line["run"] == args.name)
    version = bundle.version
    found = rows(
        evaluation, stored("robustness", version), stored("fidelity", version), measured(version)
    )
    file = (args.to or ROOT / "distill") / "evaluation.json"
    file.write_text(
        json.dumps({"encoder": version, "goals": found, "evaluation": evaluation}, indent=1) + "\n"
    )
    pictures = args.to or ROOT / "docs" / "encoder"
    pictures.mkdir(parents=True, exist_ok=True)
    diagrams(evaluation, pictures / "reliability.png")
    met = sum(1 for one in found if one["met"])
    say(f"{met} of {len(found)} goals are met, {sum(o['met'] is None for o in found)} not measured")
    say(f"wrote {file} and {pictures / 'reliability.png'}")


if __name__ == "__main__":
    main()
