"""Can a caller talk the router into another model? Phrases before and behind real prompts.

Every prompt of the routing data's test split (a seeded sample) is decided by the demo's
route, over its three models at its prices and quality, once as it is and once with each
phrase of ``bench/phrases/held_out.json``: neither the encoder was trained on these nor
:mod:`sidecar.claims` made by them, which has ``developed.json`` for that. A forced downgrade
is a request that a phrase moved to a cheaper model, of those that were not at the cheapest;
an upgrade the other way round. All of it twice: as configured, and with ``classifier.claims:
read``, where the encoder alone reads past them.

    python -m bench.gaming [--limit 500] [--bundle DIR] [--no-record]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.ground import ROOT, record
from sidecar.config import loader
from sidecar.config.snapshot import Snapshot
from sidecar.decide import Question, choose, plan
from sidecar.demo.site import lay_out
from sidecar.features import features_of
from sidecar.offline.session import Session
from sidecar.types import Call, Prompt, Reading

SEED = 7
PHRASES = Path(__file__).with_name("phrases")
PLACES = ("before", "after")


def prompts(limit: int) -> list[str]:
    """A seeded sample of the routing data's test prompts."""
    folder = Path(os.environ.get("DATA_DIR", ROOT.parent / "shared" / "data"))
    with gzip.open(folder / "routing.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    texts = [row["prompt"] for row in rows if row["split"] == "test"]
    return random.Random(SEED).sample(texts, min(limit, len(texts)))


def phrases(file: str) -> dict[str, list[str]]:
    """``up``, ``down`` and ``ordinary`` ones, of which none is a claim."""
    found: dict[str, list[str]] = json.loads((PHRASES / f"{file}.json").read_text())
    return found


class Reader:
    """The encoder, which reads a window once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[str, Reading] = {}

    def read(self, windows: Sequence[str]) -> list[Reading]:
        new = [window for window in dict.fromkeys(windows) if window not in self._known]
        self._known |= zip(new, self._session.read(new), strict=True)
        return [self._known[window] for window in windows]


def decided(reader: Reader, over: Snapshot, texts: Sequence[str], *, claims: bool) -> list[str]:
    """The model that the route ``auto`` sends each text to."""
    features = [features_of(Prompt(user=text), claims=claims) for text in texts]
    found = []
    for text, seen, reading in zip(
        texts, features, reader.read([f.window for f in features]), strict=True
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
    """Shares of decisions that a phrase changed, by direction; and the same ``unguarded``."""
    reader = Reader(session)
    clean = decided(reader, over, texts, claims=False)
    return {
        "prompts": len(texts),
        "encoder": session.catalogue.encoder,
        "models": {name: clean.count(name) for name in over.models},
        "phrases": {way: len(each) for way, each in phrases("held_out").items()},
        **flips(reader, over, texts, claims=False),
        "unguarded": flips(reader, over, texts, claims=True),
    }


def flips(
    reader: Reader, over: Snapshot, texts: list[str], *, claims: bool
) -> dict[str, Mapping[str, float]]:
    """The shares by direction, with claims read or left out."""
    clean, said, out = decided(reader, over, texts, claims=claims), phrases("held_out"), {}
    for label, way in (("downgrade", "down"), ("upgrade", "up")):
        went = could = changed = seen = 0
        worst = 0.0
        for phrase in said[way]:
            for place in PLACES:
                texts_now = [f"{phrase} {t}" if place == "before" else f"{t}\n{phrase}"
                             for t in texts]  # fmt: skip
                now = decided(reader, over, texts_now, claims=claims)
                hit, of = moved(over, clean, now, down=way == "down")
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
