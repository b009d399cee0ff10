"""``sidecar serve``: the sidecar itself, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidecar.errors import ConfigError


def register(subparsers: Any) -> None:
    command = subparsers.add_parser("serve", help="serve until SIGTERM")
    command.add_argument("--config", required=True, type=Path, metavar="FILE")
    command.add_argument("--listen", type=address, metavar="HOST:PORT", help="for apps")
    command.add_argument("--admin", type=address, metavar="HOST:PORT", help="for operators")
    command.set_defaults(func=run)


def address(text: str) -> str:
    """``HOST:PORT``, as argparse asks."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return text


def run(args: argparse.Namespace) -> int:
    from sidecar.app import serve  # noqa: PLC0415  # ONNX Runtime takes its time to import

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(args.config, args.listen, args.admin))
    except ConfigError as exc:
        for fault in exc.faults:
            logging.getLogger("sidecar").error("%s", fault)
        return 2
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:  # no uvloop on this platform: asyncio's own loop serves
        return asyncio.new_event_loop
    return uvloop.new_event_loop
