"""The cheapest honest client and upstream: raw protocols, so that the proxy is what costs.

    python -m bench.raw mock --port 0
    python -m bench.raw load --url http://127.0.0.1:8080/v1 --requests 5000 --clients 16

The mock answers a chat completion of 578 bytes, or a stream of 20 chunks two
milliseconds apart; as the model ``hosted`` under a head with an id and a limit of its
own, as providers send, else under the same head each time, as model servers do. The
load is a closed loop over keep-alive connections and prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
import urllib.parse
from collections.abc import Sequence
from typing import Any

import uvloop

CHUNKS = 20
GAP_S = 0.002
PROMPT = "word " * 300
_DELTA = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "mock",
        "choices": [{"index": 0, "delta": {"content": "token "}, "finish_reason": None}],
    }
)
_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "mock",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "word " * 63},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 300, "completion_tokens": 63, "total_tokens": 363},
}


def answer() -> bytes:
    body = json.dumps(_ANSWER).encode().ljust(578)
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


ANSWER = answer()
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
OK = b"HTTP/1.1 200 OK\r\n"
HOSTED = OK + b"x-request-id: req_%032x\r\nx-ratelimit-remaining-requests: %d\r\n"
EVENT = chunk(f"data: {_DELTA}\n\n".encode())
LAST = chunk(f"data: {_DELTA.replace('null', chr(34) + 'stop' + chr(34))}\n\n".encode()) + chunk(
    b"data: [DONE]\n\n"
)
END = b"0\r\n\r\n"


class Mock(asyncio.Protocol):
    """Answers whatever is POSTed: a stream if the body asks for one."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = b""
        self.answered = 0

    def own(self, answer: bytes, body: bytes) -> bytes:
        """``answer`` under a head of its own, where ``body`` asks the model ``hosted``."""
        if b'"hosted"' not in body:
            return answer
        self.answered += 1
        return (
            HOSTED % (self.answered << 64 | id(self), 10_000 - self.answered % 10_000)
            + answer[len(OK) :]
        )

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(rest) < length:
                return
            body, self.buffer = rest[:length], rest[length:]
            if b'"stream": true' in body or b'"stream":true' in body:
                self.transport.write(self.own(STREAM_HEAD, body) + EVENT)
                asyncio.get_running_loop().call_later(GAP_S, self.next, CHUNKS - 1)
            else:
                self.transport.write(self.own(ANSWER, body))

    def next(self, left: int) -> None:
        if self.transport.is_closing():
            return
        if left == 0:
            self.transport.write(LAST + END)
            return
        self.transport.write(EVENT)
        asyncio.get_running_loop().call_later(GAP_S, self.next, left - 1)


class Client(asyncio.Protocol):
    """One keep-alive connection that asks, waits for the whole answer, and asks again."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.over = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        if self.load.left == 0:
            self.over = True
            self.transport.close()
            self.load.finished()
            return
        self.load.left -= 1
        self.got = b""
        self.first = 0.0
        self.began = time.perf_counter()
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        if not self.first and (b"\r\n\r\n" in data):
            self.first = time.perf_counter()
        self.got += data
        head, found, body = self.got.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        if at >= 0:
            if len(body) < int(head[at + 15 :].split(b"\r\n", 1)[0]):
                return
        elif not body.endswith(END):
            return
        # whoever cuts an answer short has less to do: that is no answer
        self.load.errors += not self.load.is_whole(head, body)
        now = time.perf_counter()
        self.load.total.append((now - self.began) * 1e3)
        self.load.to_first.append((self.first - self.began) * 1e3)
        self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over:
            self.load.broke(exc)


class Load:
    """A bounded closed loop."""

    def __init__(
        self,
        url: str,
        requests: int,
        clients: int,
        model: str,
        stream: bool,
        headers: Sequence[str] = (),  # further ones, as "name: value"
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        body = json.dumps(
            {
                "model": model,
                "stream": stream,
                "messages": [{"role": "user", "content": PROMPT}],
            }
        )
        further = "".join(line + "\r\n" for line in headers)
        self.request = (
            f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Content-Type: application/json\r\nAuthorization: Bearer app\r\n"
            f"User-Agent: load\r\nAccept: */*\r\n{further}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        # what a whole answer has, one of these
        self.ends: tuple[bytes, ...] = (b"[DONE]",) if stream else (b'"choices"',)
        self.left = requests
        self.clients = clients
        self.open = clients
        self.errors = 0
        self.total: list[float] = []
        self.to_first: list[float] = []

    def is_whole(self, head: bytes, body: bytes) -> bool:
        """Whether an answer is one, and has its end."""
        return head.startswith(b"HTTP/1.1 200") and any(end in body for end in self.ends)

    def finished(self) -> None:
        self.open -= 1
        if self.open == 0:
            self.done.set_result(None)

    def broke(self, exc: Exception | None) -> None:
        """A connection ended; before the load did, that is the end of the load."""
        if not self.done.done():
            why = f"a connection was closed after {len(self.total)} answers"
            self.done.set_exception(ConnectionError(f"{why}: {exc}" if exc else why))

    async def run(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        self.done = loop.create_future()
        began = time.perf_counter()
        for _ in range(self.clients):
            await loop.create_connection(lambda: Client(self), self.host, self.port)
        await asyncio.wait_for(self.done, 300)
        seconds = time.perf_counter() - began
        ordered = sorted(self.total)
        return {
            "requests": len(self.total),
            "errors": self.errors,
            "per_s": round(len(self.total) / seconds, 1),
            "p50_ms": round(statistics.median(self.total), 3),
            "p99_ms": round(ordered[int(0.99 * len(ordered))], 3),
            "first_p50_ms": round(statistics.median(self.to_first), 3),
        }


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Mock, "127.0.0.1", port)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    mock = commands.add_parser("mock")
    mock.add_argument("--port", type=int, default=0)
    load = commands.add_parser("load")
    load.add_argument("--url", required=True)
    load.add_argument("--requests", type=int, default=5000)
    load.add_argument("--clients", type=int, default=16)
    load.add_argument("--model", default="small")
    load.add_argument("--stream", action="store_true")
    load.add_argument("--header", action="append", default=[], metavar="NAME: VALUE")
    args = parser.parse_args()
    if args.command == "mock":
        uvloop.run(serve(args.port))
        return

    async def run() -> dict[str, Any]:
        return await Load(
            args.url, args.requests, args.clients, args.model, args.stream, args.header
        ).run()

    print(json.dumps(uvloop.run(run())))


if __name__ == "__main__":
    main()
