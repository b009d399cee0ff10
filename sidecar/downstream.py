"""The caller's side of an answer: a head, chunks, an end, straight to the socket.

aiohttp's response classes cost more than the rest of the path together, so
this writes through the connection's stream writer: one head, each chunk flushed
as it comes, the transport drained before the next is asked for, so that a slow
reader slows the upstream and does not fill the memory.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from aiohttp import HttpVersion11, hdrs
from aiohttp.web import BaseRequest
from multidict import CIMultiDict

from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from aiohttp.http import StreamWriter

_BODILESS: Final = frozenset({204, 304})


class HangUp(SidecarError):
    """The caller is gone: nothing more can be sent."""


class Downstream:
    """The answer to one request. Used once, by one task.

    It is also what the handler returns to aiohttp's server, which asks it only
    to finish and whether the connection lives on.
    """

    def __init__(self, request: BaseRequest) -> None:
        self._request = request
        self._writer = cast("StreamWriter", request.writer)
        self._ended = False
        self.keep_alive = request.keep_alive
        self.started = False
        self.bytes_sent = 0

    async def start(self, status: int, reason: str, headers: CIMultiDict[str]) -> None:
        """Send the head. A body without a declared length is chunked, or ends the connection."""
        if hdrs.CONTENT_LENGTH not in headers and status not in _BODILESS:
            if self._request.version >= HttpVersion11:
                headers[hdrs.TRANSFER_ENCODING] = "chunked"
                self._writer.enable_chunking()
            else:
                self.keep_alive = False
        if not self.keep_alive:
            headers[hdrs.CONNECTION] = "close"
        elif self._request.version < HttpVersion11:
            headers[hdrs.CONNECTION] = "keep-alive"
        self.started = True
        if not (reason and reason.isascii() and reason.isprintable()):
            reason = _phrase(status)
        await self._writer.write_headers(f"HTTP/1.1 {status} {reason}", headers)

    async def write(self, chunk: bytes) -> None:
        """Send bytes and wait until the socket took them; :class:`HangUp` if it is gone."""
        try:
            await self._writer.write(chunk, drain=False)
            await self._writer.drain()
        except ConnectionError as exc:
            raise HangUp("the caller closed the connection") from exc
        self.bytes_sent += len(chunk)

    async def finish(self) -> None:
        """End a whole body."""
        try:
            await self._writer.write_eof()
        except ConnectionError as exc:
            raise HangUp("the caller closed the connection") from exc
        self._ended = True

    def abort(self) -> None:
        """Cut the connection: the only honest end of a body that will not be whole."""
        self.keep_alive = False
        self._ended = True
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    async def answer(self, status: int, headers: CIMultiDict[str], body: bytes) -> None:
        """A whole answer of the sidecar's own, in one write."""
        headers[hdrs.CONTENT_TYPE] = "application/json"
        headers[hdrs.CONTENT_LENGTH] = str(len(body))
        await self.start(status, "", headers)
        # to HEAD a body would be the start of the next answer
        await self.write(b"" if self._request.method == "HEAD" else body)
        await self.finish()

    # -- what aiohttp's server asks of a handler's result ---------------------------

    async def prepare(self, request: BaseRequest) -> None:
        return None

    async def write_eof(self) -> None:
        if not self._ended:
            self.abort()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
