"""One caller's connection: requests in, answers out, on a raw transport.

An :class:`asyncio.Protocol` over httptools (llhttp, strict) and nothing between. It
answers one request at a time, in the order they came, refuses what two readers could
read in two ways, gives heads and bodies a size and a time, and cancels the work for a
caller who leaves. Whatever it refuses is answered in JSON, as the last answer of the
connection, and no word of it goes to a log.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol, cast

import httptools

from sidecar import headers
from sidecar.downstream import Downstream, HangUp
from sidecar.errors import (
    BadRequest,
    BodyTimeout,
    BodyTooLarge,
    HeadersTooLarge,
    HeaderTimeout,
    RequestError,
    trace,
)
from sidecar.headers import RequestHead

log = logging.getLogger("sidecar.http")

_AHEAD: Final = 1 << 16  # bytes of later requests kept while one is being answered
_LINGER_S: Final = 2.0  # for a refused caller to read why, before the connection is cut
_MOST_HEADERS: Final = 128
_LINE_END: Final = b"\r\n"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a caller may take of room and time."""

    max_head: int  # bytes
    max_body: int  # bytes
    head_s: float  # from the first byte of a head to its last
    body_s: float  # from the end of the head
    idle_s: float  # between requests


class Request:
    """One request, as it comes in."""

    __slots__ = (
        "admitted", "body", "claim", "head", "http10", "keep_alive", "method", "target", "whole",
    )  # fmt: skip

    def __init__(self, method: bytes, target: bytes, head: RequestHead) -> None:
        self.method = method
        self.target = target  # path and query
        self.head = head
        self.http10 = False
        self.keep_alive = True
        self.body = b""
        self.whole = False
        self.admitted = False  # it was asked for its body, which had not come with its head
        self.claim: object = None  # the room that its body takes, for as long as it is here


class Handler(Protocol):
    """What answers requests."""

    def bounds(self) -> Bounds:
        """What holds for the next request."""
        ...

    def admit(self, request: Request) -> None:
        """Pass a request whose body may still be on its way, or raise why not."""
        ...

    def answer(self, request: Request, answer: Downstream) -> Awaitable[None]:
        """Answer a whole request. Raises nothing but a cancellation."""
        ...

    def refuse(self, request: Request | None, answer: Downstream, fault: RequestError) -> None:
        """Answer what is not to be handled, and count it."""
        ...


class Callers(Protocol):
    """Where connections are known while they are open."""

    handler: Handler

    def opened(self, caller: Caller) -> None: ...
    def closed(self, caller: Caller) -> None: ...


class Caller(asyncio.Protocol):
    """A connection, the request that is coming in, and the answer that is going out."""

    __slots__ = (
        "_ahead", "_ahead_size", "_begun", "_body", "_bounds", "_broken", "_callers", "_draining",
        "_fields", "_gone", "_handler", "_head_bytes", "_idle_since", "_idle_timer", "_loop",
        "_over", "_parser", "_plain", "_queue", "_request", "_resumed", "_size", "_target",
        "_task", "_timer", "_transport", "full",
    )  # fmt: skip

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._handler = callers.handler
        self._loop = asyncio.get_running_loop()
        self._bounds = self._handler.bounds()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        # of the request that is coming in
        self._begun = False
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0  # of a head that is not whole yet
        self._request: Request | None = None  # its head is whole, its body not
        self._body: list[bytes] = []
        self._size = 0
        self._plain = False  # a body read by a parser that was not told of an upgrade
        self._timer: asyncio.TimerHandle | None = None
        # of those that came
        self._queue: deque[Request] = deque()
        self._broken: RequestError | None = None  # nothing more can be read here
        self._ahead: list[bytes] = []
        self._ahead_size = 0
        # of the answer
        self._task: asyncio.Task[None] | None = None
        self.full = False
        self._resumed: asyncio.Future[None] | None = None
        # of the connection
        self._gone = False
        self._over = False  # the last answer is out: what still comes is dropped
        self._draining = False
        self._idle_since = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None

    # -- asyncio.Protocol ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._idle_since = self._loop.time()
        self._idle_timer = self._loop.call_later(self._bounds.idle_s, self._idled)
        self._callers.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        for timer in (self._timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self._callers.closed(self)
        # the parser and this hold each other: what is not whole would wait for the collector
        self._request, self._body = None, []
        self.resume_writing()
        if self._task is not None:
            self._task.cancel()

    def eof_received(self) -> bool:
        return False  # who says no more has left: nobody half-closes and waits

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        if self._task is not None:
            # of a later request: its turn comes, and until then only so much is kept
            self._ahead.append(data)
            self._ahead_size += len(data)
            if self._ahead_size > _AHEAD and self._transport is not None:
                self._transport.pause_reading()
            return
        self._feed(data)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    # -- requests in --------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        try:
            self._parse(data)
        except httptools.HttpParserError as exc:
            if self._broken is None:
                cause = exc.__context__
                self._broken = cause if isinstance(cause, RequestError) else _invalid()
                if not isinstance(cause, RequestError | None):
                    log.error("a request could not be read: %s", trace(cause))
        self._go_on(len(data))

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._declined(data[exc.args[0] :])

    def _go_on(self, size: int) -> None:
        """Do what is next, now that ``size`` more bytes have been read."""
        if self._queue:
            if self._timer is not None:
                self._forget_time()
            self._serve(self._queue.popleft())
        elif self._broken is not None:
            self._refuse(self._broken)
        elif self._request is not None:
            if not self._request.admitted:
                self._await_body(self._request)
        elif self._begun:
            self._await_head(size)

    def _await_head(self, size: int) -> None:
        """Note a head that is not whole."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._bounds.head_s, self._head_is_late)
        self._head_bytes += size
        if self._head_bytes > self._bounds.max_head:
            self._refuse(self._too_large())

    def _await_body(self, request: Request) -> None:
        """Say whether to go on with a body, and give it its time."""
        self._forget_time()
        request.admitted = True
        try:
            self._handler.admit(request)
        except RequestError as fault:
            self._refuse(fault)
            return
        if b"expect" in request.head.said and not request.http10 and self._transport is not None:
            self._transport.write(_CONTINUE)
        self._timer = self._loop.call_later(self._bounds.body_s, self._body_is_late)

    def _head_is_late(self) -> None:
        wait = self._bounds.head_s
        self._refuse(
            HeaderTimeout(f"The headers were not complete after {wait:g} s. Send all of them.")
        )

    def _body_is_late(self) -> None:
        wait = self._bounds.body_s
        self._refuse(BodyTimeout(f"The body was not complete after {wait:g} s. Send all of it."))

    def _forget_time(self) -> None:
        self._head_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_large(self) -> HeadersTooLarge:
        kb = self._bounds.max_head >> 10
        return HeadersTooLarge(f"The headers are larger than {kb} KB or too long. Shorten them.")

    def _idled(self) -> None:
        """Close a connection that has been idle for its time; else look again when it may be."""
        left = self._idle_since + self._bounds.idle_s - self._loop.time()
        busy = self._task is not None or self._request is not None or self._timer is not None
        if not busy and left <= 0.001:
            self._end()
            return
        wait = self._bounds.idle_s if busy else left
        self._idle_timer = self._loop.call_later(max(wait, 0.001), self._idled)

    # -- httptools ----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._begun = True

    def on_url(self, url: bytes) -> None:
        if not self._plain:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._request is None:  # else a trailer, of which nobody needs to know
            self._fields.append((name, value))
            if len(self._fields) > _MOST_HEADERS:
                raise HeadersTooLarge("The request has too many headers. Send fewer.")

    def on_headers_complete(self) -> None:
        if self._plain:
            return
        parser, target, fields = self._parser, self._target, self._fields
        self._target, self._fields = b"", []
        version = parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            raise _invalid()
        head = headers.read(fields)
        if head.size + len(target) > self._bounds.max_head:
            raise self._too_large()
        request = Request(parser.get_method(), target, head)
        request.http10 = version == "1.0"
        _check(request)
        request.keep_alive = parser.should_keep_alive() and b"upgrade" not in head.said
        self._request = request

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._size += len(body)
        if self._size > self._bounds.max_body:
            mb = self._bounds.max_body / (1 << 20)
            raise BodyTooLarge(f"The body is larger than {mb:g} MB.")

    def on_message_complete(self) -> None:
        request = self._request
        if request is None or (not self._plain and self._parser.should_upgrade()):
            return  # of an upgrade: its body comes behind this end
        body = self._body
        request.body = body[0] if len(body) == 1 else b"".join(body)
        request.whole = True
        self._request = None
        self._begun = False
        self._body = []
        self._size = 0
        self._queue.append(request)

    def _declined(self, rest: bytes) -> None:
        """Read the body of a request that would change the protocol as if it would not.

        ``rest`` is what came behind its head, which llhttp takes for the other protocol.
        """
        request = self._request
        assert request is not None
        if request.method == b"CONNECT":
            request.keep_alive = False
            request.whole = True
            self._request = None
            self._queue.append(request)
            return
        self._plain = True
        self._parser = httptools.HttpRequestParser(self)
        framing = b"".join(
            name + b": " + value + _LINE_END
            for name, value in request.head.said.items()
            if name in {b"content-length", b"transfer-encoding"}
        )
        self._parser.feed_data(b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + _LINE_END)
        if not request.whole and rest:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserError:
                if not request.whole:  # else it is not ours to read
                    raise

    # -- answers out --------------------------------------------------------------------

    def _serve(self, request: Request) -> None:
        answer = Downstream(
            self,
            keep_alive=request.keep_alive and not self._draining,
            http10=request.http10,
            bodiless=request.method == b"HEAD",
        )
        self._task = self._loop.create_task(self._answer(request, answer))

    async def _answer(self, request: Request, answer: Downstream) -> None:
        try:
            await self._handler.answer(request, answer)
        finally:
            self._task = None
            if not self._gone:
                self._answered(answer)

    def _answered(self, answer: Downstream) -> None:
        """Go on to the next request, or end the connection."""
        if not answer.ended:
            answer.abort()
        if not answer.keep_alive or self._draining:
            self._end()
            return
        self._idle_since = self._loop.time()
        if self._queue or self._broken is not None:
            self._go_on(0)
        elif self._ahead:
            data, self._ahead, self._ahead_size = b"".join(self._ahead), [], 0
            if self._transport is not None:
                self._transport.resume_reading()
            self._feed(data)
        elif self._begun:  # a later request that came in part with this one
            self._go_on(0)

    def _refuse(self, fault: RequestError) -> None:
        """Answer and end, where there is no whole request to answer."""
        self._forget_time()
        request = self._request
        answer = Downstream(
            self, keep_alive=False, bodiless=request is not None and request.method == b"HEAD"
        )
        if not self._gone:
            self._handler.refuse(request, answer, fault)
            self._end()

    def _end(self) -> None:
        """Close, once what was written is out.

        Where a caller may still be sending, closing at once would reset the connection
        and take the answer with it: this side is ended, and the other gets a moment.
        """
        self._over = True
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._broken is None and self._request is None and not self._ahead:
            transport.close()
            return
        self._ahead = []
        self._forget_time()
        transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
        self._timer = self._loop.call_later(_LINGER_S, transport.abort)

    def drain(self) -> None:
        """Let the answer that is under way be the last; close now if there is none."""
        self._draining = True
        if self._task is None:
            self._end()

    async def stop(self) -> None:
        """Cut the connection, and wait for the end of what was being done for it."""
        task = self._task
        self.abort()
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    # -- what an answer asks ------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._gone or self._transport is None or self._transport.is_closing():
            raise HangUp("the caller closed the connection")
        self._transport.write(data)

    async def drained(self) -> None:
        while self.full and not self._gone:
            self._resumed = self._loop.create_future()
            try:
                await self._resumed
            finally:
                self._resumed = None
        if self._gone:
            raise HangUp("the caller closed the connection")

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _invalid() -> BadRequest:
    return BadRequest("The request is not valid HTTP/1.1.", code="invalid_http")


def _check(request: Request) -> None:
    """Refuse what llhttp passes and another reader may read otherwise."""
    said, target = request.head.said, request.target
    host = said.get(b"host")
    if (host is None and not request.http10) or (host is not None and b"," in host):
        raise _invalid()
    coding = said.get(b"transfer-encoding")
    if coding is not None and (request.http10 or coding.lower() != b"chunked"):
        raise BadRequest("The only transfer coding is chunked. Send no other.", code="invalid_http")
    if b"#" in target:  # a fragment is its reader's own, and goes nowhere
        request.target = target = target.partition(b"#")[0]
    if target[:1] != b"/" and request.method != b"CONNECT":
        request.target = _path_of(target)


def _path_of(target: bytes) -> bytes:
    """The path and query of an absolute target, whose host means nothing here."""
    if b"://" not in target:
        raise _invalid()
    try:
        parts = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        raise _invalid() from None
    path = parts.path or b"/"
    return path + b"?" + parts.query if parts.query else path
