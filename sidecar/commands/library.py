"""``sidecar library build FILE --output X``: known prompts, for the policy `similarity`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def register(subparsers: Any) -> None:
    command = subparsers.add_parser(
        "library", help="build a library of prompts whose outcome is known"
    )
    verbs = command.add_subparsers(metavar="VERB", required=True)
    build = verbs.add_parser(
        "build",
        help="from rows with scores, or with a label",
        description="Make the file that `similarity.library` of a route names. It holds no text.",
    )
    build.add_argument(
        "input", type=Path, metavar="FILE", help='rows with scores, or with "label": easy or hard'
    )
    build.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="the library to write"
    )
    build.add_argument(
        "--where", action="append", default=[], metavar="KEY=VALUE", help="only rows that say so"
    )
    build.add_argument("--abilities", type=Path, metavar="FILE", help="what `sidecar fit` wrote")
    build.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from sidecar import library  # noqa: PLC0415  # numpy and the encoder take their time
    from sidecar.offline.library_rows import gather  # noqa: PLC0415
    from sidecar.offline.session import Session, need_folder, read_with_progress  # noqa: PLC0415
    from sidecar.offline.simulate_rows import conditions  # noqa: PLC0415

    need_folder(args.output)
    session = Session(args.abilities)
    found = gather(args.input, session.catalogue, conditions(args.where))
    vectors, _ = read_with_progress(session, found.rows)
    built = library.build(session.encoder.version, vectors, found.windows, found.hard, found.scores)
    built.save(args.output)
    print(
        f"{args.output}: {len(built)} prompts, {found.labelled} with a label, "
        f"scores of {len(built.columns)} models, encoder {built.encoder}"
    )
    print("name it as `similarity.library` of a route", file=sys.stderr)
    for count, what in ((found.bad, "faulty"), (found.silent, "without a label or a known score")):
        if count:
            print(f"{count} rows {what} were left out")
    return 0
