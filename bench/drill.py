"""A sidecar and a mock upstream that misbehave on purpose, as processes for benchmarks.

    python -m bench.drill sidecar --fault slow:50 --config FILE --listen H:P --admin H:P
    python -m bench.drill mock --failing 0.1 [--period 60]

``slow:MS`` makes every run of the encoder take so much longer; ``down`` makes each one
fail. The failing mock answers that share of its requests with a 500 or 429, cuts the
connection, breaks the stream off before its first content, or says nothing for so long
that it is given up. What it did so far it tells at ``/v1/drill``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from aiohttp import web

from sidecar.app import App, load
from sidecar.classify.batcher import BatchingClassifier
from sidecar.demo.mock import Exchange, MockUpstream
from sidecar.encoder.model import OnnxEncoder
from sidecar.types import Reading

SILENT_S = 30.0  # of an answer that does not come


class Faulty:
    """The real encoder behind a fault."""

    def __init__(self, encoder: OnnxEncoder, fault: str) -> None:
        self.version = encoder.version
        self._encoder = encoder
        kind, _, ms = fault.partition(":")
        self._down = kind == "down"
        self._delay_s = float(ms or 0) / 1e3

    def read(self, windows: Sequence[str]) -> list[Reading]:
        if self._down:
            raise RuntimeError("down, as the drill says")
        time.sleep(self._delay_s)
        return self._encoder.read(windows)


class Failing:
    """A share of requests fail, in turns of five kinds; counted, not drawn.

    With ``period_s`` only in the last third of each period of the monotonic clock. A
    stream that is to be cut is one only if a stream was asked for; else the connection is.
    """

    def __init__(self, share: float, period_s: float = 0.0) -> None:
        self._every = round(1 / share)
        self._period_s = period_s
        self._cut: set[int] = set()
        self.done = dict.fromkeys(("status 500", "status 429", "cut", "stream cut", "silent"), 0)

    async def on_request(
        self, exchange: Exchange, request: web.Request
    ) -> web.StreamResponse | None:
        if exchange.path == "/v1/drill":
            return web.json_response(self.done)
        if exchange.number % self._every or not faulty(self._period_s, time.monotonic()):
            return None
        kind = list(self.done)[sum(self.done.values()) % len(self.done)]
        self.done[kind] += 1
        match kind:
            case "status 500":
                return web.Response(status=500)
            case "status 429":
                return web.Response(status=429, headers={"Retry-After": "0"})
            case "silent":
                await asyncio.sleep(SILENT_S)
            case "stream cut" if b'"stream":true' in exchange.body:
                self._cut.add(exchange.number)
            case _:
                assert request.transport is not None
                request.transport.abort()
        return None

    async def on_event(self, exchange: Exchange, event: bytes) -> bytes | None:
        return None if exchange.number in self._cut else event


def faulty(period_s: float, now: float) -> bool:
    """Whether ``now`` on the monotonic clock is in the last third of a period (0: always)."""
    return not period_s or now % period_s / period_s >= 2 / 3


async def serve_sidecar(args: argparse.Namespace) -> None:
    loaded = load(args.config)
    settings = loaded.snapshot.config.classifier
    classifier = BatchingClassifier(
        Faulty(OnnxEncoder(loaded.bundle), args.fault),
        name="onnx",
        why=f"a drill: {args.fault}",
        deadline_s=settings.deadline_ms / 1e3,
    )
    app = await App.start(args.config, listen=args.listen, admin=args.admin, classifier=classifier)
    await _stopped()
    await app.stop()


async def serve_mock(args: argparse.Namespace) -> None:
    faults = Failing(args.failing, args.period) if args.failing else None
    async with MockUpstream(speed=args.speed, faults=faults) as mock:
        print(json.dumps({"url": mock.url}), flush=True)
        await _stopped()


async def _stopped() -> None:
    """Until SIGTERM, or until whoever started us is gone."""
    stop, parent = asyncio.Event(), os.getppid()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    while not stop.is_set() and os.getppid() == parent:
        try:
            await asyncio.wait_for(stop.wait(), 0.5)
        except TimeoutError:
            continue


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)
    sidecar = commands.add_parser("sidecar")
    sidecar.add_argument("--fault", required=True)
    sidecar.add_argument("--config", type=Path, required=True)
    sidecar.add_argument("--listen", required=True)
    sidecar.add_argument("--admin", required=True)
    sidecar.set_defaults(work=serve_sidecar)
    mock = commands.add_parser("mock")
    mock.add_argument("--failing", type=float, default=0.0)
    mock.add_argument("--period", type=float, default=0.0, metavar="SECONDS")
    mock.add_argument("--speed", type=float, default=4.0)
    mock.set_defaults(work=serve_mock)
    args = parser.parse_args()
    uvloop.run(args.work(args))


if __name__ == "__main__":
    main()
