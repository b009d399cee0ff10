"""What the sidecar's memory does over many requests, and under many slow streams.

Over many requests: every API that leaves something behind is asked, streamed and not,
a share of them with prompts never seen before, so that the caches, the conversations
and the answers that may be named fill up within the first requests and change all the
time after. What is told is how far RSS grew from there to the end.

Under many streams: so many callers each read a stream that brings one event a second,
all at once. What is told is how much RSS is above what it was before them.

    python -m bench.footprint                                  # 200,000 and 1,000
    python -m bench.footprint --requests 20000 --settled 5000 --streams 200
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench import ground, raw

GAP_S = 1.0  # between the events of a slow stream
CLIENTS = 16
POINTS = 40  # of the curve
_SLOW = "slow"
LETTERS = str.maketrans("0123456789", "abcdefghij")
Step = Callable[[int], None]


class Mock(raw.Mock):
    """``bench.raw``'s mock, with an id of its own in every response and streams that are slow."""

    made = 0

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST /v1/responses "):
            Mock.made += 1
            body = json.dumps(
                {
                    "id": f"resp_{Mock.made:09}",
                    "object": "response",
                    "status": "completed",
                    "output": [],
                    "usage": {"input_tokens": 300, "output_tokens": 63},
                }
            ).encode()
            head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        elif f'"user": "{_SLOW}"'.encode() in data:
            self.transport.write(raw.STREAM_HEAD + raw.EVENT)
            asyncio.get_running_loop().call_later(GAP_S, self.trickle)
        else:
            super().data_received(data)

    def trickle(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(raw.EVENT)
            asyncio.get_running_loop().call_later(GAP_S, self.trickle)


class Mix(raw.Load):
    """A closed loop over the APIs.

    While it is ``filling``, every request leaves something behind, a conversation and an
    answer that may be named in turn, until every memory is full; after that, four of a
    hundred have a prompt of their own and five an answer that may be named.
    """

    def __init__(self, url: str, clients: int = CLIENTS) -> None:
        super().__init__(url, 0, clients, "auto", False)
        self.ends = (b'"output"', b'"choices"', b"[DONE]")  # of every API here
        self._host = urllib.parse.urlsplit(url).netloc
        self.number = 0
        self.filling = False

    @property
    def request(self) -> bytes:
        self.number += 1
        number = self.number
        new = self.filling or number % 100 < 4
        # in letters, for texts that differ in digits alone share what is remembered of them
        name = str(number if new else number % 10).translate(LETTERS)
        text = f"Tell me of case {name}, please. " + "word " * 60
        if number % 2 if self.filling else number % 20 == 3:
            return self._post("responses", {"model": "auto", "input": text})
        body = {
            "model": "auto" if new or number % 2 else "small",
            "stream": number % 10 == 4,
            "messages": [{"role": "user", "content": text}],
        }
        return self._post("chat/completions", body)

    @request.setter
    def request(self, _: bytes) -> None:
        """What the loop would otherwise repeat."""

    def _post(self, path: str, body: dict[str, Any]) -> bytes:
        content = json.dumps(body)
        head = f"POST /v1/{path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer app\r\n"
        return (
            f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            f"{content}"
        ).encode()

    async def send(self, requests: int) -> None:
        """So many more; RuntimeError if one of them failed."""
        self.left, self.open = requests, self.clients
        await self.run()
        self.total.clear()
        self.to_first.clear()
        if self.errors:
            raise RuntimeError(f"{self.errors} requests failed")


async def growth(
    sidecar: ground.Sidecar, requests: int, settled: int, step: Step
) -> dict[str, Any]:
    """RSS over ``requests``, of which ``settled`` fill what is bounded."""
    mix = Mix(sidecar.url)
    curve: list[tuple[int, float]] = []
    piece = max(1, requests // POINTS)
    while mix.number < requests:
        mix.filling = mix.number < settled
        goal = settled if mix.filling else requests
        count = min(piece, goal - mix.number)
        await mix.send(count)
        step(count)
        curve.append((mix.number, round(sidecar.process.rss_mb(), 2)))
    at = next(rss for number, rss in curve if number >= settled)
    return {
        "requests": requests,
        "settled_after": settled,
        "rss_mb": {"settled": at, "last": curve[-1][1], "most": max(rss for _, rss in curve)},
        "grown_mb": round(curve[-1][1] - at, 2),
        "curve": curve,
    }


async def streams(
    sidecar: ground.Sidecar, count: int, seconds: float, step: Step
) -> dict[str, Any]:
    """RSS with ``count`` slow streams under way, against RSS before them."""
    await Mix(sidecar.url).send(400)
    before, files = sidecar.process.rss_mb(), sidecar.process.files()
    parts = urllib.parse.urlsplit(sidecar.url)
    host, port = parts.hostname or "", parts.port or 80
    body = json.dumps(
        {
            "model": "small",
            "stream": True,
            "user": _SLOW,
            "messages": [{"role": "user", "content": raw.PROMPT}],
        }
    )
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    wires: list[asyncio.StreamWriter] = []
    events = [0] * count

    async def follow(number: int, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(1 << 14):
            events[number] += data.count(b"data: ")

    following = []
    try:
        for number in range(count):
            reader, writer = await asyncio.open_connection(host, port)
            wires.append(writer)
            writer.write(request)
            following.append(asyncio.create_task(follow(number, reader)))
            if number % 50 == 49:
                await asyncio.sleep(0.05)  # a crowd, not a shout
                step(50)
        loop = asyncio.get_running_loop()
        until = loop.time() + 120
        while min(events) < 2 and loop.time() < until:  # noqa: ASYNC110  # no event says so
            await asyncio.sleep(0.2)
        most, over = 0.0, loop.time() + seconds
        while loop.time() < over:
            most = max(most, sidecar.process.rss_mb())
            await asyncio.sleep(0.25)
        open_files = sidecar.process.files()
    finally:
        for writer in wires:
            writer.close()
        await asyncio.gather(*following, return_exceptions=True)
    return {
        "streams": count,
        "flowing": sum(each >= 2 for each in events),
        "rss_mb": {"before": round(before, 2), "most": round(most, 2)},
        "added_mb": round(most - before, 2),
        "files": {"before": files, "with_streams": open_files},
    }


def settings(upstream: str, entries: int = 10_000, backend: str = "auto") -> dict[str, Any]:
    """Defaults but for a deadline that a busy machine meets; ``entries`` bounds each memory."""
    price = {"input": 0.07, "output": 0.07}
    model = {"upstream": "mock", "price": price, "context": 128_000}
    return {
        "classifier": {"backend": backend, "deadline_ms": 1000},
        "decision_cache": {"entries": entries},
        "sessions": {"entries": entries},
        "upstreams": {"mock": {"base_url": upstream, "max_connections": 2000}},
        "models": {
            "small": {**model, "ability": "llama-3.1-8b-instruct"},
            "large": {**model, "ability": "gpt-4o-2024-08-06", "price": {"input": 2, "output": 9}},
        },
        "routes": {"auto": {"models": ["small", "large"], "default": "large"}},
    }


@contextmanager
def mock() -> Iterator[str]:
    """The mock as a process of its own; its base URL."""
    command = [sys.executable, "-m", "bench.footprint", "--mock"]
    with TemporaryDirectory() as folder, ground.process(command, Path(folder, "log")) as running:
        assert running.popen.stdout is not None
        port = json.loads(running.popen.stdout.readline())["port"]
        yield f"http://127.0.0.1:{port}/v1"


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Mock, "127.0.0.1", 0, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def allow_files() -> None:
    """As many open files as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--settled", type=int, default=20_000, help="that fill the caches")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0, help="with all streams under way")
    parser.add_argument("--mock", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    allow_files()
    if args.mock:
        uvloop.run(serve())
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress,
        mock() as upstream,
    ):
        figures: dict[str, Any] = {}
        # each on a process of its own: what one leaves behind is not the other's
        with ground.sidecar(settings(upstream)) as sidecar:
            one = progress.add_task("streams", total=args.streams)
            figures["streams"] = uvloop.run(
                streams(sidecar, args.streams, args.seconds, lambda n: progress.advance(one, n))
            )
        with ground.sidecar(settings(upstream)) as sidecar:
            two = progress.add_task("requests", total=args.requests)
            figures["growth"] = uvloop.run(
                growth(sidecar, args.requests, args.settled, lambda n: progress.advance(two, n))
            )
    ground.record("footprint", figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
