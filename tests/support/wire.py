"""HTTP/1.1 by hand: what a client library would not send, and what it would hide."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import orjson

GENEROUS = 20.0  # seconds: nothing waits so long unless it fails


@dataclass(frozen=True)
class Reply:
    """One answer as it came: every header line, and the body with its framing taken off."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool = True
    version: str = "HTTP/1.1"

    @property
    def last(self) -> bool:
        """Whether it says that it is the connection's last."""
        said = self.header("connection")
        return said == ["close"] if self.version == "HTTP/1.1" else said != ["keep-alive"]

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Wire:
    """One connection. ``async with await Wire.to(address) as wire``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, address: str) -> Wire:
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        """Close with a reset, as a process that dies does."""
        self.writer.transport.abort()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> Reply:
        """The head of the next answer; ConnectionError where there is none."""
        async with asyncio.timeout(GENEROUS):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as exc:
                raise ConnectionError(f"closed after {exc.partial!r}") from exc
        line, *fields = head.decode("latin-1").split("\r\n")[:-2]
        pairs = [(name, value.strip()) for name, _, value in (f.partition(":") for f in fields)]
        version, status, *_ = line.split()
        return Reply(int(status), pairs, b"", version=version)

    async def reply(self) -> Reply:
        """The next answer, up to its end or to where it was cut."""
        head = await self.head()
        body, whole = b"", True
        async with asyncio.timeout(GENEROUS):
            try:
                if head.header("transfer-encoding") == ["chunked"]:
                    while chunk := await self.chunk():
                        body += chunk
                elif length := head.header("content-length"):
                    body = await self.reader.readexactly(int(length[0]))
                else:
                    body = await self.reader.read()
            except asyncio.IncompleteReadError as exc:
                body, whole = body + exc.partial, False
            except ConnectionError:
                whole = False
        return replace(head, body=body, whole=whole)

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        async with asyncio.timeout(GENEROUS):
            size = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def closed(self) -> bool:
        """Whether the other side ends the connection, without more bytes."""
        async with asyncio.timeout(GENEROUS):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


def post(
    body: bytes | dict[str, Any],
    *,
    path: str = "/v1/chat/completions",
    headers: str = "Content-Type: application/json\r\n",
    method: str = "POST",
) -> bytes:
    """The bytes of one request."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    head = f"{method} {path} HTTP/1.1\r\nHost: sidecar\r\n{headers}Content-Length: {len(content)}"
    return head.encode("latin-1") + b"\r\n\r\n" + content


def chat(text: str = "hello", model: str = "auto", **fields: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


async def exchange(address: str, request: bytes) -> Reply:
    """One request on a connection of its own."""
    async with await Wire.to(address) as wire:
        wire.send(request)
        return await wire.reply()
