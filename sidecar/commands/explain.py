"""``sidecar explain``: the whole chain of reasons for one prompt or request body."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import orjson

from sidecar.commands import terminal
from sidecar.commands.terminal import plain
from sidecar.errors import BadRequest, RequestError


def register(subparsers: Any) -> None:
    command = subparsers.add_parser(
        "explain",
        help="why a prompt, or a request body on stdin, goes where it goes",
        description="Decide a prompt, or a chat request's body on standard input, as a request "
        "would be decided, and tell every reason. Nothing is sent to any model.",
    )
    command.add_argument(
        "--config", required=True, type=Path, metavar="FILE", help="the configuration, YAML"
    )
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    command.add_argument("--route", metavar="NAME", help="for a PROMPT; the first, unless given")
    command.add_argument("prompt", nargs="?", metavar="PROMPT", help="what an app would ask")
    command.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    if args.prompt is None and sys.stdin.isatty():
        print("sidecar: give a PROMPT, or a request body on stdin", file=sys.stderr)
        return 2
    try:
        story = asyncio.run(_explain(args))
    except RequestError as exc:
        print(f"sidecar: {exc}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(story, indent=2))
    else:
        _show(story)
    return 0


async def _explain(args: argparse.Namespace) -> dict[str, Any]:
    from sidecar import (  # noqa: PLC0415
        classify,  # ONNX Runtime takes its time to import
        headers,
    )
    from sidecar.app import load  # noqa: PLC0415
    from sidecar.control.explain import explain  # noqa: PLC0415
    from sidecar.dialects import DIALECTS  # noqa: PLC0415
    from sidecar.parse import Received  # noqa: PLC0415

    loaded = load(args.config)
    snapshot = loaded.snapshot
    if args.prompt is None:
        body = sys.stdin.buffer.read()
    else:
        route = args.route or next(iter(snapshot.routes), None)
        if route is None:
            raise BadRequest("The configuration has no route to explain.")
        message = {"role": "user", "content": args.prompt}
        body = orjson.dumps({"model": route, "messages": [message]})
    # a person waits, not a request: no deadline cuts the explanation short
    settings = snapshot.config.classifier.model_copy(update={"deadline_ms": 10_000.0})
    classifier = (await classify.build(settings, loaded.bundle)).classifier
    try:
        received = Received("explain", DIALECTS["chat"], headers.read(()), body)
        return await explain(received, snapshot, classifier)
    finally:
        await classifier.close()


def _show(story: dict[str, Any]) -> None:
    from rich.table import Table  # noqa: PLC0415

    console = terminal.console()
    console.print(f"[bold]{story['asked']}[/] -> [bold green]{story['model']}[/]", end="  ")
    console.print(f"because: [bold]{story['reason']}[/]\n")
    steps = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for number, step in enumerate(story["steps"], 1):
        steps.add_row(f"{number}.", step["stage"], plain(step["verdict"]))
    console.print(steps)
    if story["candidates"]:
        ranked = Table(box=None, padding=(0, 2, 0, 0))
        for title in ("candidate", "P(suffices)", "expected USD"):
            ranked.add_column(title, justify="left" if title == "candidate" else "right")
        for candidate in story["candidates"]:
            mark = "[green]" if candidate["model"] == story["model"] else ""
            probability = f"{candidate['probability']:.3f}"
            cost = f"{candidate['cost_usd']:.6f}"
            ranked.add_row(f"{mark}{candidate['model']}", probability, cost)
        console.print()
        console.print(ranked)
    if story["fallbacks"]:
        console.print(f"\nif it fails: {', then '.join(story['fallbacks'])}")
    spent = ", ".join(f"{stage} {ms:.2f} ms" for stage, ms in story["timings_ms"].items())
    console.print(f"took {spent}")
