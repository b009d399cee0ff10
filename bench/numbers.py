"""Reruns every figure that README and docs quote, on this machine, and writes them there.

Each step is a benchmark of its own that appends to ``bench/results.jsonl``; a step that
fails is told at the end, and the others go on. What a step needs and this machine lacks (the
routing data in ``DATA_DIR``, Chromium, a rival that cannot be installed) leaves its lines
in the documents as they are in the results file, or as "not measured".

    python -m bench.numbers                   # all of it: about two hours, one of them the soak
    python -m bench.numbers --skip soak rivals
    python -m bench.numbers --list
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import ground

DATA = Path(os.environ.get("DATA_DIR", ground.ROOT.parent / "shared" / "data"))
ROWS = os.path.relpath(DATA / "routing.jsonl.gz", ground.ROOT)


@dataclass(frozen=True)
class Step:
    """One benchmark, and about how long it takes where no earlier run says so."""

    command: str  # below ``python -m``
    minutes: float
    data: bool = False  # needs the routing data

    @property
    def name(self) -> str:
        return self.command.split()[0].removeprefix("bench.")


STEPS = (
    Step("bench.decision --requests 700", 1),
    Step("bench.load --seconds 8", 2.5),
    Step("bench.encoder", 0.5),
    Step("bench.engine", 0.3),
    Step("bench.memory", 1),
    Step("bench.scenarios", 6),
    Step("bench.inject", 0.5),
    Step("bench.dashboard", 1),
    Step("bench.pictures", 1),
    Step("bench.proxy --requests 3000 --rounds 5", 6),
    Step("bench.rivals --part proxies", 15),
    Step("bench.rivals --part classifiers", 10, data=True),
    Step(f"bench.policies {shlex.quote(ROWS)}", 12, data=True),
    Step(f"bench.neighbours {shlex.quote(ROWS)}", 3, data=True),
    Step("bench.gaming --limit 300", 2, data=True),
    Step("bench.recovery", 2, data=True),
    Step("bench.soak", 61),
)


def expected_s(step: Step, results: Path) -> float:
    """What the last run of this very command took, or the step's own guess."""
    took = step.minutes * 60
    with results.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["command"] == f"python -m {step.command}":
                took = row.get("seconds", took)
    return float(took)


def span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def run(steps: Sequence[Step]) -> list[str]:
    """Every step in its order; what went wrong, a line each."""
    wrong = []
    spans = [expected_s(step, ground.RESULTS) for step in steps]
    began = time.monotonic()
    for i, step in enumerate(steps):
        print(
            f"\n[{i + 1}/{len(steps)}] python -m {step.command}: about {span(spans[i])}; "
            f"{span(time.monotonic() - began)} gone, about {span(sum(spans[i:]))} to go",
            flush=True,
        )
        if step.data and not (DATA / "routing.jsonl.gz").exists():
            wrong.append(f"{step.command}: not measured, no routing.jsonl.gz in DATA_DIR ({DATA})")
            continue
        # figures are in the results file; what is left to see is the progress
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(step.command)],
            cwd=ground.ROOT,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            wrong.append(f"{step.command}: exit {done.returncode}, see above")
    print(f"\n{len(steps)} steps in {span(time.monotonic() - began)}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = sorted({step.name for step in STEPS})
    parser.add_argument("--skip", nargs="*", default=[], choices=names, metavar="NAME")
    parser.add_argument("--only", nargs="*", default=[], choices=names, metavar="NAME")
    parser.add_argument("--list", action="store_true", help="say what would run, and how long")
    args = parser.parse_args()
    steps = [s for s in STEPS if s.name not in args.skip and s.name in (args.only or names)]
    if args.list:
        for step in steps:
            print(f"{span(expected_s(step, ground.RESULTS)):>8}  python -m {step.command}")
        print(f"{span(sum(expected_s(s, ground.RESULTS) for s in steps)):>8}  in all")
        return 0
    if os.getloadavg()[0] > 0.5 * (os.cpu_count() or 1):
        print(
            f"The machine is busy (load {os.getloadavg()[0]:.1f}): times will be its, and say so.",
            file=sys.stderr,
        )
    wrong = run(steps)
    subprocess.run([sys.executable, "-m", "bench.readme"], cwd=ground.ROOT, check=True)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
