"""Does the bandit find back from a wrong start, on real prompts with real scores?

The catalogue's abilities of two models of the routing data are swapped, so that the
weak one is believed to be the strong one. Each of 2,000 prompts of the training split
is decided by the policy ``bandit``, and the score that the chosen model really got on it
is fed back. Before and after, the prompts of the test split are decided by what is
believed then, without draws, and judged by the real scores.

    python -m bench.recovery [--weak NAME --strong NAME] [--feedbacks 2000] [--no-record]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.ground import ROOT, record
from sidecar.config import loader
from sidecar.config.snapshot import Snapshot
from sidecar.decide import EMPTY, Question, View, choose, plan
from sidecar.features import features_of
from sidecar.offline.session import Session
from sidecar.state.abilities_online import Learner
from sidecar.types import Call, Prompt, Reading

SEED = 11
CONFIG = """
upstreams: {{none: {{base_url: "http://127.0.0.1:1/v1"}}}}
models:
  weak: {{upstream: none, ability: {weak}, price: {{input: 0.6, output: 0.6}}, context: 200000}}
  strong: {{upstream: none, ability: {strong}, price: {{input: 10, output: 30}}, context: 200000}}
routes:
  auto: {{policy: bandit, models: [weak, strong], quality: {quality}, default: strong}}
"""

Row = tuple[Call, Reading, dict[str, float]]


def rows(session: Session, weak: str, strong: str, counts: dict[str, int]) -> dict[str, list[Row]]:
    """A seeded sample of each split of mmlu, read, with both models' real scores."""
    folder = Path(os.environ.get("DATA_DIR", ROOT.parent / "shared" / "data"))
    found: dict[str, list[tuple[str, dict[str, float]]]] = {split: [] for split in counts}
    with gzip.open(folder / "routing.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            scores = row["scores"]
            both = weak in scores and strong in scores
            if row["split"] in found and row["source"] == "mmlu" and both:
                got = {"weak": scores[weak], "strong": scores[strong]}
                found[row["split"]].append((row["prompt"], got))
    out: dict[str, list[Row]] = {}
    for split, most in counts.items():
        picked = random.Random(SEED).sample(found[split], min(most, len(found[split])))
        windows = [features_of(Prompt(user=text)).window for text, _ in picked]
        out[split] = [
            (_call(text), reading, scores)
            for (text, scores), reading in zip(picked, session.read(windows), strict=True)
        ]
    return out


def _call(text: str) -> Call:
    return Call(
        request_id="recovery", dialect="chat", model="auto", body=b"", model_span=(0, 0),
        stream=False, prompt=Prompt(user=text), needs=frozenset(),
        input_tokens=len(text.encode()) // 3 + 1, max_output_tokens=None,
    )  # fmt: skip


def model_for(over: Snapshot, row: Row, view: View = EMPTY) -> str:
    """The model that the route sends the row to."""
    call, reading, _ = row
    question = plan(call, features_of(call.prompt), over, view)
    if isinstance(question, Question):
        question = choose(question, call, reading, over, view)
    return question.model


def judged(over: Snapshot, among: list[Row]) -> dict[str, float]:
    """Mean real score, and the share that went to the strong model."""
    chosen = [model_for(over, row) for row in among]
    score = sum(row[2][name] for row, name in zip(among, chosen, strict=True)) / len(among)
    return {"score": round(score, 4), "strong": round(chosen.count("strong") / len(among), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weak", default="mixtral-8x7b-instruct")
    parser.add_argument("--strong", default="gpt-4-1106-preview")
    parser.add_argument("--quality", type=float, default=0.9)
    parser.add_argument("--feedbacks", type=int, default=2000)
    parser.add_argument("--no-record", action="store_true", help="only print")
    args = parser.parse_args()
    session = Session()
    counts = {"train": args.feedbacks, "test": 1000}
    data = rows(session, args.weak, args.strong, counts)
    file = ROOT / ".work" / "recovery.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(CONFIG.format(weak=args.weak, strong=args.strong, quality=args.quality))
    right = loader.load(file, session.catalogue, env={})
    weak, strong = right.models["weak"], right.models["strong"]
    swapped = {
        "weak": replace(weak, ability=strong.ability),
        "strong": replace(strong, ability=weak.ability),
    }
    wrong = replace(right, models=swapped)
    learner = Learner(wrong, 2000, seed=SEED)
    found: dict[str, Any] = {
        "encoder": session.catalogue.encoder, "weak": args.weak, "strong": args.strong,
        "quality": args.quality, "feedbacks": len(data["train"]), "test": len(data["test"]),
        "right": judged(right, data["test"]), "swapped": judged(wrong, data["test"]),
    }  # fmt: skip
    served = wrong
    for number, row in enumerate(data["train"], 1):
        name = model_for(served, row, View(draws=learner.draws()))
        learner.learn(name, row[1].demand or (), row[2][name], 1.0)
        served = learner.taught(wrong)
        if number % 500 == 0:
            found[f"after_{number}"] = judged(served, data["test"])
    for name in ("weak", "strong"):
        score = sum(row[2][name] for row in data["test"]) / len(data["test"])
        found[f"always_{name}"] = round(score, 4)
    print(json.dumps(found, indent=1))
    if not args.no_record:
        record("recovery", found)


if __name__ == "__main__":
    main()
