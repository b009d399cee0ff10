"""``sidecar calibrate SCORED.jsonl``: the threshold that meets a cost or a quality target."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def register(subparsers: Any) -> None:
    command = subparsers.add_parser(
        "calibrate",
        help="the threshold for a share of strong calls or a share of quality",
        description="Find the threshold that sends a share of the rows to the strong model, or "
        "that keeps a share of its quality. `sidecar simulate --suggest` finds a route's settings.",
    )
    command.add_argument(
        "input",
        type=Path,
        metavar="SCORED.jsonl",
        help="a JSON object a line, or CSV; .gz is read too",
    )
    target = command.add_mutually_exclusive_group(required=True)
    target.add_argument("--strong-rate", type=float, metavar="SHARE", help="e.g. 0.3")
    target.add_argument(
        "--quality", type=float, metavar="SHARE", help="of the strong model's, e.g. 0.97"
    )
    command.add_argument("--weak", metavar="A", help="needs --strong too")
    command.add_argument("--strong", metavar="B", help="needs --weak too")
    command.add_argument("--abilities", type=Path, metavar="FILE", help="what `sidecar fit` wrote")
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    command.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    import json  # noqa: PLC0415
    from dataclasses import asdict  # noqa: PLC0415

    from sidecar.errors import DataError  # noqa: PLC0415
    from sidecar.offline import calibrate  # noqa: PLC0415
    from sidecar.offline.rows import BadRow, Row, read_rows  # noqa: PLC0415
    from sidecar.offline.session import Session, pair, read_with_progress  # noqa: PLC0415

    if bool(args.weak) != bool(args.strong):
        raise DataError("--weak and --strong come together")
    session = Session(args.abilities)
    weak, strong = args.weak, args.strong
    if not weak and args.quality is not None:
        weak, strong = _extremes(args.input)
        print(
            f"weak is {weak}, strong is {strong}: name others with --weak, --strong",
            file=sys.stderr,
        )
    if weak:
        both = pair(session, args.input, weak, strong)
        ranked_by = both.ranked_by
        if args.quality is not None:
            found = calibrate.for_quality(both.rank, both.weak, both.strong, args.quality)
        else:
            found = calibrate.for_share(both.rank, args.strong_rate)
            found = calibrate.with_quality(found, both.rank, both.weak, both.strong)
    else:
        read = list(read_rows(args.input))
        rows = [row for row in read if isinstance(row, Row)]
        faults = [row.error for row in read if isinstance(row, BadRow)]
        if not rows:
            why = faults[0] if faults else "it is empty"
            raise DataError(f"{args.input} has no prompts: {why}")
        if faults:
            print(f"{len(faults)} faulty rows left out; the first: {faults[0]}", file=sys.stderr)
        _, difficulty = read_with_progress(session, rows)
        found, ranked_by = calibrate.for_share(difficulty, args.strong_rate), "difficulty"
    report = asdict(found) | {
        "ranked_by": ranked_by,
        "weak": weak,
        "strong": strong,
        "encoder": session.encoder.version,
    }
    if args.json:
        print(json.dumps(report))
        return 0
    print(f"threshold {found.threshold:.6g} on {ranked_by}")
    print(f"sends {found.strong_share:.1%} of these rows to the strong model")
    if found.quality is not None:
        kept = "" if found.retention is None else f", {found.retention:.1%} of always-strong"
        print(f"mean score {found.quality:.4f}{kept}")
    print(
        "this is no route's `threshold`, which is a chance: `sidecar simulate --suggest` finds "
        "the settings of a route",
        file=sys.stderr,
    )
    return 0


def _extremes(file: Path) -> tuple[str, str]:
    """The lowest and the highest mean score among models that every scored row has."""
    from sidecar.errors import DataError  # noqa: PLC0415
    from sidecar.offline.rows import BadRow, read_rows  # noqa: PLC0415

    total: dict[str, float] = {}
    counts: dict[str, int] = {}
    for row in read_rows(file):
        if not isinstance(row, BadRow):
            for model, score in row.scores.items():
                total[model] = total.get(model, 0.0) + score
                counts[model] = counts.get(model, 0) + 1
    common = [m for m in total if counts[m] == max(counts.values())]
    if len(common) < 2:
        raise DataError(f"{file} needs rows that score at least two models")
    ranked = sorted(common, key=lambda m: (total[m] / counts[m], m))
    return ranked[0], ranked[-1]
