"""Can a caller talk the router into another model? Phrases before and behind real prompts.

Every prompt of the routing data's test split (a seeded sample) is decided by the demo's
route, over its three models at its prices and quality, once as it is and once with each
phrase of ``distill.robustness``'s held-out halves: those that nobody looked at while the
encoder was trained. A forced downgrade is a request that a phrase moved to a cheaper
model, of those that were not at the cheapest; an upgrade the other way round.

    python -m bench.gaming [--limit 500] [--bundle DIR] [--no-record]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.ground import ROOT, record
from distill.robustness import DOWN, UP
from sidecar.config import loader
from sidecar.config.snapshot import Snapshot
from sidecar.decide import Question, choose, plan
from sidecar.demo.site import lay_out
from sidecar.features import features_of
from sidecar.offline.session import Session
from sidecar.types import Call, Prompt

SEED = 7
PLACES = ("before", "after")


def prompts(limit: int) -> list[str]:
    """A seeded sample of the routing data's test prompts."""
    folder = Path(os.environ.get("DATA_DIR", ROOT.parent / "shared" / "data"))
    with gzip.open(folder / "routing.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    texts = [row["prompt"] for row in rows if row["split"] == "test"]
    return random.Random(SEED).sample(texts, min(limit, len(texts)))


def decided(session: Session, over: Snapshot, texts: Sequence[str]) -> list[str]:
    """The model that the route ``auto`` sends each text to."""
    features = [features_of(Prompt(user=text)) for text in texts]
    found = []
    for text, seen, reading in zip(
        texts, features, session.read([f.window for f in features]), strict=True
    ):
        call = Call(
            request_id="gaming", dialect="chat", model="auto", body=b"", model_span=(0, 0),
            stream=False, prompt=Prompt(user=text), needs=frozenset(),
            input_tokens=len(text.encode()) // 3 + 1, max_output_tokens=None,
        )  # fmt: skip
        question = plan(call, seen, over)
        if isinstance(question, Question):
            question = choose(question, call, reading, over)
        found.append(question.model)
    return found


def moved(over: Snapshot, clean: list[str], now: list[str], *, down: bool) -> tuple[int, int]:
    """How many went where the phrase wanted them, and how many could have."""
    prices = {name: spec.price.output for name, spec in over.models.items()}
    end = (min if down else max)(prices.values())
    could = [(a, b) for a, b in zip(clean, now, strict=True) if prices[a] != end]
    went = [(a, b) for a, b in could if (prices[b] < prices[a]) == down and prices[b] != prices[a]]
    return len(went), len(could)


def figures(session: Session, over: Snapshot, texts: list[str]) -> dict[str, Any]:
    """Shares of decisions that a phrase changed, by direction."""
    clean = decided(session, over, texts)
    out: dict[str, Any] = {
        "prompts": len(texts),
        "encoder": session.catalogue.encoder,
        "models": {name: clean.count(name) for name in over.models},
    }
    for label, phrases, down in (("downgrade", DOWN, True), ("upgrade", UP, False)):
        went = could = changed = seen = 0
        worst = 0.0
        for phrase in phrases["held"]:
            for place in PLACES:
                texts_now = [f"{phrase} {t}" if place == "before" else f"{t}\n{phrase}"
                             for t in texts]  # fmt: skip
                now = decided(session, over, texts_now)
                hit, of = moved(over, clean, now, down=down)
                went, could, worst = went + hit, could + of, max(worst, hit / max(1, of))
                changed += sum(a != b for a, b in zip(clean, now, strict=True))
                seen += len(now)
        out[label] = {
            "of_those_that_could": round(went / max(1, could), 4),
            "of_all": round(went / seen, 4),
            "worst_phrase": round(worst, 4),
            "changed_either_way": round(changed / seen, 4),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=500, help="prompts (500)")
    parser.add_argument("--bundle", type=Path, help="an encoder's folder; the packaged one")
    parser.add_argument("--no-record", action="store_true", help="only print")
    args = parser.parse_args()
    session = Session(bundle=args.bundle)
    with tempfile.TemporaryDirectory() as folder:
        site = lay_out(Path(folder), "http://127.0.0.1:1/v1")
        over = loader.load(site.config_file, session.catalogue, env={})
    found = figures(session, replace(over, abilities=session.catalogue), prompts(args.limit))
    print(json.dumps(found, indent=1))
    if not args.no_record:
        record("gaming", found)


if __name__ == "__main__":
    main()
