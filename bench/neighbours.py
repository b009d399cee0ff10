"""What the search of a library misses, and what that does to decisions: beside an exact search.

    python -m bench.neighbours ../shared/data/routing.jsonl.gz [--source mmlu] [--limit 400]

Builds the library of a source's rows of split `train` as `sidecar library build` does, and
replays the rows of split `test` through the policy `similarity`, once as it serves and once
with every entry measured. Says which share of the nearest was found, by how much the chances
of models moved, and how many decisions were others, over five settings of `quality`.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from bench import ground
from bench.policies import PAIRS, Pair, Rows, config
from sidecar import library
from sidecar.config.schema import Similarity
from sidecar.library import Library
from sidecar.offline.library_rows import gather
from sidecar.offline.session import Session, read_with_progress

QUALITIES = (0.7, 0.8, 0.9, 0.95, 0.98)
COUNT = Similarity().neighbours


class Exact:
    """Every entry measured."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors.astype(np.float64)

    def __call__(
        self, query: Sequence[float], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        squares = ((self._vectors - np.array(query)) ** 2).sum(1)
        nearest = squares.argsort()[:count]
        return nearest, squares[nearest].astype(np.float32)


def measure(file: Path, pair: Pair, limit: int | None) -> dict[str, Any]:
    session = Session()
    known = gather(file, session.catalogue, {"source": pair.source, "split": "train"})
    vectors, _ = read_with_progress(session, known.rows)
    served = library.build(
        session.encoder.version, vectors, known.windows, known.hard, known.scores
    )
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "sidecar.yaml"
        names.write_text(yaml.safe_dump(config(pair, serving=True)))
        over, _ = Rows(file, pair.source, limit).study("test", names)
    asked = [reading.demand for reading in over.readings if reading.demand is not None]
    whole = exactly(served)
    other = decided = 0
    for quality in QUALITIES:
        route = replace(over.route, policy="similarity", library=served, quality=quality)
        one, two = over.play(route), over.play(replace(route, library=whole))
        decided += len(over.cases)
        other += sum(a != b for a, b in zip(one.chosen, two.chosen, strict=True))
    abilities = tuple(served.columns)
    found, moved = 0, []
    for demand in asked:
        near = served.nearest(demand, COUNT)[0].tolist()
        found += len({*near} & {*whole.nearest(demand, COUNT)[0].tolist()})
        moved.append(estimates(served, demand, abilities) - estimates(whole, demand, abilities))
    return {
        "entries": len(served),
        "pages": served.looked,
        "tests": len(asked),
        "recall": round(found / (COUNT * len(asked)), 4),
        "chance_moved": {
            "mean": round(float(np.abs(moved).mean()), 5),
            "p99": round(float(np.quantile(np.abs(moved), 0.99)), 4),
        },
        "other_decisions": round(other / decided, 5),
        "search_us": round(timed(served, asked), 1),
    }


def exactly(served: Library) -> Library:
    """The same library, and every entry of it measured."""
    found = copy.copy(served)
    object.__setattr__(found, "_paged", Exact(served.vectors))
    return found


def estimates(of: Library, demand: Sequence[float], abilities: tuple[str, ...]) -> Any:
    """Each model's chance where the encoder gives all an even one."""
    near, trust = of.near(demand, COUNT, abilities), Similarity().trust
    return (trust * 0.5 + near.gained) / (trust + near.known)


def timed(served: Library, asked: Sequence[Sequence[float]]) -> float:
    """Microseconds of a search, the median."""
    spent = []
    for demand in asked:
        began = time.perf_counter()
        served.nearest(demand, COUNT)
        spent.append(time.perf_counter() - began)
    return float(np.median(spent)) * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--source", action="append", help="only this source; again for more")
    parser.add_argument("--limit", type=int, help="only the first rows of test")
    parser.add_argument("--dry", action="store_true", help="print, and append nothing")
    args = parser.parse_args()
    found = {}
    for pair in PAIRS:
        if not args.source or pair.source in args.source:
            found[pair.source] = measure(args.rows, pair, args.limit)
            print(pair.source, json.dumps(found[pair.source]), file=sys.stderr, flush=True)
    if not args.dry:
        ground.record("neighbours", found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
