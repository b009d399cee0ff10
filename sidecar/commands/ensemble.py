"""``sidecar ensemble fit SCORED.jsonl --config FILE --output X``: what each vote is worth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def register(subparsers: Any) -> None:
    command = subparsers.add_parser("ensemble", help="weigh the votes of the policy `ensemble`")
    verbs = command.add_subparsers(metavar="VERB", required=True)
    fit = verbs.add_parser(
        "fit",
        help="from scored rows that the library does not hold",
        description="Make the file that `ensemble.file` of a route names, from rows {id, prompt, "
        "scores: {MODEL: 0..1}}. The configuration may name it before it is there.",
    )
    fit.add_argument(
        "input",
        type=Path,
        metavar="SCORED.jsonl",
        help="a JSON object a line, or CSV; .gz is read too",
    )
    fit.add_argument(
        "--config", required=True, type=Path, metavar="FILE", help="the configuration, YAML"
    )
    fit.add_argument("--route", metavar="NAME", help="the first, unless given")
    fit.add_argument(
        "--where", action="append", default=[], metavar="KEY=VALUE", help="only rows that say so"
    )
    fit.add_argument("--output", required=True, type=Path, metavar="FILE", help="to write")
    fit.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from sidecar.offline import stacking  # noqa: PLC0415  # the encoder takes its time
    from sidecar.offline.score import CHUNK  # noqa: PLC0415
    from sidecar.offline.session import need_folder, track  # noqa: PLC0415
    from sidecar.offline.simulate_rows import conditions  # noqa: PLC0415
    from sidecar.offline.simulate_setup import prepare  # noqa: PLC0415

    need_folder(args.output)
    where = conditions(args.where)
    setup = prepare(args.input, args.config, args.route, where=where, unfitted=True)
    cases = setup.cases
    if setup.passed.known:
        print(f"{setup.passed.known} rows are in the library and were left out")
    starts = range(0, len(cases), CHUNK)
    readings = [
        reading
        for start in track(starts, "reading", len(starts))
        for reading in setup.session.read(
            [case.features.window for case in cases[start : start + CHUNK]]
        )
    ]
    stack = stacking.fit(cases, readings, setup.route, setup.snapshot)
    stack.save(args.output)
    for name, found in stack.weights.items():
        print(
            f"{name}: {found.rows} rows, held-out AUC {_shown(found.auc)} "
            f"(the encoder alone {_shown(found.auc_encoder)}), "
            f"calibration error {_shown(found.ece)} ({_shown(found.ece_encoder)})"
        )
    print(
        f"wrote {args.output}: name it as `ensemble.file` of the route {setup.route.name}",
        file=sys.stderr,
    )
    return 0


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
