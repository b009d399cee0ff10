"""``sidecar check FILE``: is this configuration good?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def register(subparsers: Any) -> None:
    command = subparsers.add_parser(
        "check", help="check a configuration: exit 0, or 2 with one line per fault"
    )
    command.add_argument("file", type=Path, metavar="FILE")
    command.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from sidecar.app import load  # noqa: PLC0415

    snapshot = load(args.file).snapshot
    for warning in snapshot.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    models, routes = len(snapshot.models), len(snapshot.routes)
    print(f"{args.file}: good: {models} models, {routes} routes, hash {snapshot.digest}")
    return 0
