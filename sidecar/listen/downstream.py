"""The caller's side of an answer: a head, pieces, an end, straight to the socket.

A head waits for the first piece of its body, so that most answers are one write.
Each piece is flushed as it comes. Where the caller reads slowly, :meth:`write` says
so and :meth:`drained` waits: a slow reader slows the upstream and does not fill the
memory.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, Protocol

from sidecar.errors import SidecarError

_SIZES: Final = tuple([b"%x\r\n" % size for size in range(1024)])  # of chunks
_BODILESS: Final = frozenset({204, 304})
_LINES: Final = {
    (status.value, reason): f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
    for reason in ("", status.phrase)
}


class HangUp(SidecarError):
    """The caller is gone: nothing more can be sent."""


class Wire(Protocol):
    """What an answer asks of its connection."""

    full: bool  # more is buffered than the caller should be sent ahead of reading

    def write(self, data: bytes) -> None:
        """Send bytes, or raise :class:`HangUp`."""
        ...

    async def drained(self) -> None:
        """Wait until it is not ``full``; :class:`HangUp` where the caller leaves first."""
        ...

    def abort(self) -> None: ...


class Copy:
    """A body taken down as it goes, up to ``most`` bytes; ``data`` is None beyond them."""

    __slots__ = ("_most", "data")

    def __init__(self, most: int) -> None:
        self._most = most
        self.data: bytearray | None = bytearray()

    def add(self, piece: bytes) -> None:
        if self.data is not None:
            self.data += piece
            if len(self.data) > self._most:
                self.data = None


class Downstream:
    """The answer to one request. Used once, by one task."""

    __slots__ = (
        "_bodiless", "_chunked", "_head", "_http10", "_wire",
        "bytes_sent", "copy", "ended", "keep_alive", "started",
    )  # fmt: skip

    def __init__(
        self, wire: Wire, *, keep_alive: bool, http10: bool = False, bodiless: bool = False
    ) -> None:
        self._wire = wire
        self._http10 = http10
        self._bodiless = bodiless  # the answer to HEAD: a body would be the next one's start
        self._head = b""  # not sent yet
        self._chunked = False
        self.keep_alive = keep_alive
        self.started = False
        self.ended = False
        self.bytes_sent = 0  # of the body
        self.copy: Copy | None = None  # takes the body down beside the caller

    def start(self, status: int, reason: str, lines: bytes, length: bytes | int | None) -> None:
        """Give the head. Without a ``length`` the body is chunked, or ends the connection.

        ``lines`` are header lines, each with its end, but those that frame the body.
        """
        if length is not None:
            framing = b"Content-Length: %d\r\n" % int(length)
        elif status in _BODILESS:
            framing = b""
        elif self._http10:
            framing, self.keep_alive = b"", False
        else:
            framing, self._chunked = b"Transfer-Encoding: chunked\r\n", True
        if not self.keep_alive:
            framing += b"Connection: close\r\n"
        elif self._http10:
            framing += b"Connection: keep-alive\r\n"
        self.started = True
        line = _LINES.get((status, reason)) or _status_line(status, reason)
        self._head = line + lines + framing + b"\r\n"

    def write(self, piece: bytes) -> bool:
        """Send a piece of the body, at once; :class:`HangUp` if the caller is gone.

        True where :meth:`drained` should be awaited before the next piece.
        """
        size = len(piece)
        if self._bodiless or not size:
            return False
        data = piece
        if self._chunked:
            line = _SIZES[size] if size < len(_SIZES) else b"%x\r\n" % size
            data = line + piece + b"\r\n"
        if self._head:
            data, self._head = self._head + data, b""
        wire = self._wire
        wire.write(data)
        if self.copy is not None:
            self.copy.add(piece)
        self.bytes_sent += size
        return wire.full

    async def drained(self) -> None:
        """Wait until the caller has read enough; :class:`HangUp` if it never will."""
        await self._wire.drained()

    def finish(self, last: bytes = b"") -> None:
        """End a whole body, with its last piece if there is one left."""
        size = 0 if self._bodiless else len(last)
        if not self._chunked:
            data = last if size else b""
        elif size:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (size, last)
        else:
            data = b"0\r\n\r\n"
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            self._wire.write(data)
        if self.copy is not None and size:
            self.copy.add(last)
        self.bytes_sent += size
        self.ended = True

    def abort(self) -> None:
        """Cut the connection: the only honest end of a body that will not be whole."""
        self.keep_alive = False
        self.ended = True
        self._wire.abort()

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        """A whole answer of the sidecar's own."""
        self.start(status, "", lines + b"Content-Type: application/json\r\n", len(body))
        self.finish(body)


def _status_line(status: int, reason: str) -> bytes:
    """The line of a status or a reason that is not the usual one."""
    if not (reason and reason.isascii() and reason.isprintable()):
        return _LINES.get((status, "")) or b"HTTP/1.1 %d Unknown\r\n" % status
    return f"HTTP/1.1 {status} {reason}\r\n".encode()
