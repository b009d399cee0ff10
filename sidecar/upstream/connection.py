"""One connection to an upstream: a request out, an answer in, on a raw transport.

An :class:`asyncio.Protocol` over httptools, and nothing between: the request's
head and body leave in one write, the answer's bytes are handed on as the socket
gave them, and a reader that does not come stops the socket. It knows one
exchange at a time; the pool decides whether there is a next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import httptools

from sidecar.beside import Alike
from sidecar.errors import UpstreamBroken
from sidecar.upstream.base import Take
from sidecar.upstream.known_answer import KnownAnswer

_HIGH_WATER: Final = 1 << 16  # bytes unread before the socket is paused
_MAX_HEAD: Final = 1 << 18  # bytes of an answer's status line and headers
_GIVEN_UP: Final = 8  # heads that differ, after which a connection's next is not looked for


class Connection(asyncio.Protocol):
    """A connection and the exchange on it.

    ``on_lost`` is called once, when the socket is gone, for the pool to forget it.
    """

    def __init__(self, on_lost: Callable[[Connection], None]) -> None:
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._asked = False
        self._lost = False
        self._drained: asyncio.Future[None] | None = None
        self._known: KnownAnswer | None = None  # the last head that came whole with its body
        self._strange = 0  # heads in a row that were not the one before them
        self.exchanges = 0  # begun on this connection
        self.idle_since = 0.0
        self._reset()

    def _reset(self) -> None:
        """Forget the last exchange, before the next."""
        self.status = 0
        self.reason = ""
        self.headers: list[tuple[bytes, bytes]] = []
        self.alike: Alike | None = None
        self.heard = False  # at least one byte of an answer came
        self.complete = False  # the answer is whole
        self._fault: UpstreamBroken | None = None
        self._chunks: list[bytes] = []
        self._unread = 0
        self._head_size = 0
        self._head_done = False
        self._reusable = False
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._take: Take | None = None  # where pieces go as they come
        self._slow: Awaitable[None] | None = None  # until it wants the next one
        self._raised: BaseException | None = None  # by it

    # -- the exchange -----------------------------------------------------------------

    async def exchange(self, head: bytes, body: bytes) -> None:
        """Send a request and await the answer's head.

        Raises :class:`UpstreamBroken` where none came whole; ``heard`` then says
        whether the upstream had begun to answer.
        """
        self._reset()
        self.exchanges += 1
        self._asked = True
        if self._transport is None or self._lost:
            raise UpstreamBroken("the connection was closed")
        if len(body) < _HIGH_WATER:
            self._transport.write(head + body)
        else:  # no copy of a large body
            self._transport.writelines((head, body))
        while not self._head_done:
            if self._fault is not None:
                raise self._fault
            await self._wait()

    async def read(self) -> bytes:
        """The next bytes of the body; ``b""`` once it was whole and all is read."""
        while not self._chunks:
            if self.complete:
                return b""
            if self._fault is not None:
                raise self._fault
            await self._wait()
        chunks, self._chunks = self._chunks, []
        self._unread = 0
        self._resume()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def rest(self) -> bytes | None:
        """All that is left of the body, where it has come whole already; else None."""
        if not self.complete:
            return None
        chunks, self._chunks = self._chunks, []
        self._unread = 0
        self._resume()  # the next answer comes over this connection too
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def pump(self, take: Take) -> None:
        """Hand ``take`` every further piece as the socket gives it, up to the body's end.

        It is called from the transport's own callback, without waking a task for each.
        """
        try:
            while True:
                if self._chunks:
                    self._slow = take(await self.read())
                if self._slow is not None:
                    slow, self._slow = self._slow, None
                    await slow
                    continue
                if self._raised is not None:
                    raise self._raised
                if self._chunks:
                    continue
                if self.complete:
                    return
                if self._fault is not None:
                    raise self._fault
                self._resume()
                self._take = take
                await self._wait()
                self._take = None
        finally:
            self._take = None

    def _give(self, take: Take) -> None:
        """Hand on what has just come."""
        chunks, self._chunks = self._chunks, []
        self._unread = 0
        try:
            self._slow = take(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        except BaseException as exc:
            self._raised = exc
            self._slow = None
        if self._raised is not None or self._slow is not None:
            self._take = None
            self._pause()
            self._wake()

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: this one is over and both sides keep it open."""
        return (
            self.complete
            and self._reusable
            and not self._lost
            and self._transport is not None
            and not self._transport.is_closing()
        )

    def abort(self) -> None:
        """Cut the connection now: what the upstream still generates, nobody will read."""
        if self._transport is not None:
            self._transport.abort()

    def _wait(self) -> asyncio.Future[None]:
        """What to await for more to come; it may be woken for nothing."""
        self._waiter = self._loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, why: str) -> None:
        if self._fault is None and not self.complete:
            self._fault = UpstreamBroken(why)
        self._wake()

    # -- asyncio.Protocol ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if exc is None and self._head_done and self._ends_with_connection():
            self.complete = True
            self._wake()
        else:
            self._fail("the answer ended early" if self.heard else "the connection was closed")
        self._on_lost(self)

    def eof_received(self) -> bool:
        return False  # close our side too

    def data_received(self, data: bytes) -> None:
        if not self._asked or self.complete or self._fault is not None:
            # bytes that no request asked for: whatever they are, trust nothing after them
            self._reusable = False
            self.abort()
            return
        fresh, self.heard = not self.heard, True
        if fresh and self._known is not None and self._take_known(self._known, data):
            return
        if not self._head_done:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("the answer is not valid HTTP")
            self.abort()
            return
        if not self._head_done and self._head_size > _MAX_HEAD:
            self._fail("the answer's headers are too large")
            self.abort()
            return
        if fresh:
            self._learn(data)
        if self._take is None:
            if self._waiter is not None and self._head_done:
                self._wake()
        elif self._chunks:
            self._give(self._take)

    def _take_known(self, known: KnownAnswer, data: bytes) -> bool:
        """Whether ``data`` is a whole answer whose head is known: then it has been read."""
        body = known.again(data)
        if body is None:
            return False
        self._strange = 0
        self.status, self.reason, self.headers = known.status, known.reason, known.headers
        self.alike = known
        if body:
            self._chunks.append(body)
        self._head_done = self.complete = self._reusable = True
        self._wake()
        return True

    def _learn(self, data: bytes) -> None:
        """Remember the head of ``data``, the first of an answer, if it is all of it."""
        if self.complete and self._reusable and self._strange < _GIVEN_UP:
            self._known = KnownAnswer.of(data, self.status, self.reason, self.headers)
            self._strange += 1

    def _ends_with_connection(self) -> bool:
        names = {name.lower() for name, _ in self.headers}
        return self.status not in {204, 304} and not names & {
            b"content-length", b"transfer-encoding",
        }  # fmt: skip

    # -- httptools ----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.complete:
            # A second answer in the bytes of the first: its headers must not be taken
            # for the first one's, nor itself for the answer to a later request.
            raise UpstreamBroken("an answer that nobody asked for")

    def on_status(self, status: bytes) -> None:
        self.reason += status.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:  # else a trailer
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200:  # interim: the answer itself is still to come
            self.reason = ""
            self.headers = []
            return
        self.status = status
        self._head_done = True

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._unread += len(body)
        if self._unread > _HIGH_WATER and self._take is None:
            self._pause()

    def on_message_complete(self) -> None:
        if not self._head_done:  # of an interim answer
            return
        self._reusable = bool(self._parser.should_keep_alive())
        self.complete = True
        if self._take is not None:
            self._wake()


def head_of(target: bytes, host: bytes, lines: bytes, length: int) -> bytes:
    """A POST's request line and headers, ready to send."""
    return b"POST %b HTTP/1.1\r\nHost: %b\r\n%bContent-Length: %d\r\n\r\n" % (
        target, host, lines, length,
    )  # fmt: skip
