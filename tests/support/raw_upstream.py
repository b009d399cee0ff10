"""An upstream made of bytes: each connection plays what a test scripted."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import orjson

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "upstream",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
}
MESSAGE = {  # what Anthropic's API answers
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "upstream",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 11, "output_tokens": 7},
}


@dataclass
class Seen:
    """One request as the upstream got it."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def json(self) -> dict[str, object]:
        value = orjson.loads(self.body)
        assert isinstance(value, dict)
        return value


Script = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawUpstream:
    """Listens on 127.0.0.1; ``script`` answers each request, ``seen`` keeps them.

    ``gone`` counts connections that the peer closed or reset while a script was
    still writing or waiting: what an upstream notices of a hang-up.
    """

    script: Script | None = None
    tls: ssl.SSLContext | None = None
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self.tls)
        return self.url

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return f"http{'s' if self.tls else ''}://127.0.0.1:{port}/v1"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        ahead = b""  # of the next request, taken while watching for the end of this one
        playing: asyncio.Future[None] | None = None
        watching: asyncio.Future[bytes] | None = None
        try:
            while (seen := await _read(reader, ahead)) is not None:
                self.seen.append(seen)
                self.asked.set()
                playing = asyncio.ensure_future((self.script or answer())(seen, writer))
                watching = asyncio.ensure_future(reader.read(1))
                await asyncio.wait({playing, watching}, return_when=asyncio.FIRST_COMPLETED)
                if not playing.done():
                    self.gone.set()
                    playing.cancel()
                elif isinstance(playing.exception(), ConnectionError):
                    self.gone.set()  # it was writing when the other side left
                watching.cancel()
                _, watched = await asyncio.gather(playing, watching, return_exceptions=True)
                ahead = watched if isinstance(watched, bytes) else b""
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone.set()
        except asyncio.CancelledError:
            return  # the test is over
        finally:
            for each in (playing, watching):
                if each is not None:
                    each.cancel()
            writer.close()
            self._tasks.discard(task)


async def _read(reader: asyncio.StreamReader, ahead: bytes) -> Seen | None:
    try:
        head = ahead + await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    line, *fields = head.decode("latin-1").split("\r\n")[:-2]
    headers = [(name, value.strip()) for name, _, value in (f.partition(":") for f in fields)]
    length = next((int(v) for k, v in headers if k.lower() == "content-length"), 0)
    return Seen(line, headers, await reader.readexactly(length))


# -- scripts ------------------------------------------------------------------------


def answer(
    body: bytes | None = None,
    status: str = "200 OK",
    headers: str = "Content-Type: application/json\r\n",
) -> Script:
    """A whole answer with a declared length."""
    content = orjson.dumps(ANSWER) if body is None else body

    async def play(seen: Seen, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()

    return play


def raw(*parts: bytes | float, close: bool = True) -> Script:
    """Bytes as given; a number is a pause in seconds; then the connection closes."""

    async def play(seen: Seen, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            else:
                await asyncio.sleep(part)
        if close:
            writer.close()

    return play


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(delta: dict[str, object], finish: str | None = None, index: int = 0) -> bytes:
    """One event of a streamed chat completion."""
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "upstream"}
    return b"data: " + orjson.dumps({**body, "choices": [choice]}) + b"\n\n"


DONE = b"data: [DONE]\n\n"
LAST_CHUNK = b"0\r\n\r\n"


def stream(*events: bytes | float) -> Script:
    """A whole event stream, each event in a chunk of its own; a number is a pause."""
    parts = [part if isinstance(part, float | int) else chunk(part) for part in events]
    return raw(STREAM_HEAD, *parts, LAST_CHUNK, close=False)
