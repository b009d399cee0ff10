"""``sidecar demo``: real prompts through a real sidecar, to mock models, with a bill."""

from __future__ import annotations

import argparse
from typing import Any

from sidecar.commands.serve import server


def register(subparsers: Any) -> None:
    command = subparsers.add_parser(
        "demo",
        help="send prompts through a sidecar to mock models and print what it saved",
        description="Start mock models and a sidecar on 127.0.0.1, send prompts through the "
        "official openai client, and print the decisions, their cost and their latency. Needs "
        "no key and no network, and leaves nothing running.",
    )
    command.add_argument("--requests", type=_count, metavar="N", help="how many (all, once)")
    command.add_argument("--json", action="store_true", help="print one JSON object instead")
    command.add_argument("--keep", action="store_true", help="stay up afterwards, until Ctrl-C")
    command.add_argument(
        "--speed", type=_speed, metavar="X", help="pace of the mocks; 1 is natural, 0 no waiting"
    )
    command.add_argument(
        "--triton", type=server, metavar="HOST:PORT", help="a Triton server to read the prompts"
    )
    command.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from sidecar.demo import runner  # noqa: PLC0415  # what it imports takes its time

    speed = runner.SPEED if args.speed is None else args.speed
    options = runner.Options(
        args.requests, as_json=args.json, keep=args.keep, speed=speed, triton=args.triton
    )
    return runner.run(options)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 100000")
    return int(text)


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1000")
    return value
