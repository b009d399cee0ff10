"""``sidecar bench --slo FILE``: open-loop load against a deployment, judged by objectives."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def register(subparsers: Any) -> None:
    command = subparsers.add_parser(
        "bench",
        help="load a deployment and judge it by its objectives",
        description="Send open-loop load to a deployment, routed and direct in interleaved "
        "rounds, and judge it by the objectives of FILE. Exit 0 when every one is met, 1 when "
        "one is missed, 2 for a bad FILE. Without a target in FILE and without --url it starts "
        "mock models and a sidecar of its own.",
    )
    command.add_argument("--slo", type=Path, required=True, metavar="FILE", help="the plan, YAML")
    command.add_argument("--url", metavar="URL", help="the deployment's base URL, up to /v1")
    command.add_argument(
        "--output", type=Path, default=Path("slo-report"), metavar="DIR", help="of the report"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object instead")
    command.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415
    import json  # noqa: PLC0415

    from sidecar.load import command, plan, report, verdict  # noqa: PLC0415

    asked = plan.load(args.slo, args.url)
    report.prepare(args.output)
    done = asyncio.run(command.measured(asked, str(args.url or "")))
    page = command.report(done, args.output)
    if args.json:
        print(json.dumps(verdict.to_json(done.summary)))
    else:
        command.show(done, page)
    return 0 if done.summary.met else 1
