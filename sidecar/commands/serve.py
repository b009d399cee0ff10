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
    command = subparsers.add_parser(
        "serve",
        help="serve until SIGTERM",
        description="Serve apps on `listen` and operators on `admin` until SIGTERM or Ctrl-C, then "
        "let requests in flight finish. `sidecar check FILE` says beforehand what is wrong.",
    )
    command.add_argument(
        "--config", required=True, type=Path, metavar="FILE", help="the configuration, YAML"
    )
    command.add_argument("--listen", type=address, metavar="HOST:PORT|unix:/PATH", help="for apps")
    command.add_argument("--admin", type=port_address, metavar="HOST:PORT", help="for operators")
    command.add_argument(
        "--probes", type=port_address, metavar="HOST:PORT", help="for probes and metrics only"
    )
    command.add_argument("--workers", type=workers, default=1, metavar="N", help="processes (1)")
    # of the other workers, which the first one starts: NUMBER:FD of its channel to them
    command.add_argument("--follow", type=channel, help=argparse.SUPPRESS)
    command.set_defaults(func=run)


def address(text: str) -> str:
    """``HOST:PORT`` or ``unix:/PATH``, as argparse asks: what ``listen`` takes in a file."""
    from sidecar.config.schema import base  # noqa: PLC0415  # pydantic takes its time

    return _told(base.host_port_or_socket, text)


def port_address(text: str) -> str:
    """The same without a Unix socket, which only apps may connect to."""
    from sidecar.config.schema import base  # noqa: PLC0415

    return _told(base.host_port, text)


def server(text: str) -> str:
    """``HOST:PORT`` to connect to."""
    from sidecar.config.schema import base  # noqa: PLC0415

    return _told(base.server, text)


def _told(check: Callable[[str], str], text: str) -> str:
    try:
        return check(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r}: {exc}") from None


def workers(text: str) -> int:
    """A count of processes, as argparse asks."""
    if not text.isdigit() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 256")
    return int(text)


def channel(text: str) -> tuple[int, int]:
    number, _, fd = text.partition(":")
    return int(number), int(fd)


def run(args: argparse.Namespace) -> int:
    # ONNX Runtime takes its time to import
    from sidecar.app import serve, serve_as_follower  # noqa: PLC0415
    from sidecar.observe.logs import configure  # noqa: PLC0415

    configure()  # until the configuration says how
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            if args.follow:
                runner.run(serve_as_follower(args.config, args.listen, *args.follow))
            else:
                runner.run(serve(args.config, args.listen, args.admin, args.workers, args.probes))
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
