"""One caller's connection: requests in, answers out, on a raw transport.

An :class:`asyncio.Protocol` and nothing between. :mod:`sidecar.listen.incoming` makes requests
of the bytes; this answers one at a time, in the order they came, gives heads and bodies
their time, and cancels the work for a caller who leaves. Whatever is refused is answered
in JSON, as the last answer of the connection, and no word of it goes to a log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, Protocol, cast

from sidecar.errors import (
    BodyTimeout,
    HeaderTimeout,
    RequestError,
)
from sidecar.listen.downstream import Downstream, HangUp
from sidecar.listen.incoming import Bounds, Incoming, too_large
from sidecar.listen.request import Request

_AHEAD: Final = 1 << 16  # bytes of later requests kept while one is being answered
_LINGER_S: Final = 2.0  # for a refused caller to read why, before the connection is cut
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


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
        "_ahead", "_ahead_size", "_bounds", "_callers", "_draining", "_gone", "_handler",
        "_head_bytes", "_idle_since", "_idle_timer", "_in", "_loop", "_over", "_request",
        "_resumed", "_task", "_timer", "_transport", "_turn", "full",
    )  # fmt: skip

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._handler = callers.handler
        self._loop = asyncio.get_running_loop()
        self._bounds = self._handler.bounds()
        self._transport: asyncio.Transport | None = None
        # of the requests that come in
        self._in = Incoming(self._bounds)
        self._head_bytes = 0  # of a head that is not whole yet
        self._timer: asyncio.TimerHandle | None = None
        self._ahead: list[bytes] = []
        self._ahead_size = 0
        # of the answer
        self._request: Request | None = None  # that is being answered
        self._task: asyncio.Task[None] | None = None  # that answers them all, one by one
        self._turn: asyncio.Future[None] | None = None  # when there is another one for it
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
        self._in.forget()
        self.resume_writing()
        if self._task is not None:
            self._task.cancel()

    def eof_received(self) -> bool:
        return False  # who says no more has left: nobody half-closes and waits

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        if self._request is not None:
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
        self._in.feed(data)
        self._go_on(len(data))

    def _go_on(self, size: int) -> None:
        """Do what is next, now that ``size`` more bytes have been read."""
        if self._in.requests:
            if self._timer is not None:
                self._forget_time()
            self._serve(self._in.requests.popleft())
        elif self._in.broken is not None:
            self._refuse(self._in.broken)
        elif self._in.head is not None:
            if not self._in.head.admitted:
                self._await_body(self._in.head)
        elif self._in.begun:
            self._await_head(size)

    def _await_head(self, size: int) -> None:
        """Note a head that is not whole."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._bounds.head_s, self._head_is_late)
        self._head_bytes += size
        if self._head_bytes > self._bounds.max_head:
            self._refuse(too_large(self._bounds))

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

    def _idled(self) -> None:
        """Close a connection that has been idle for its time; else look again when it may be."""
        left = self._idle_since + self._bounds.idle_s - self._loop.time()
        busy = self._request is not None or self._in.head is not None or self._timer is not None
        if not busy and left <= 0.001:
            self._end()
            return
        wait = self._bounds.idle_s if busy else left
        self._idle_timer = self._loop.call_later(max(wait, 0.001), self._idled)

    # -- answers out --------------------------------------------------------------------

    def _serve(self, request: Request) -> None:
        """Have ``request`` answered: by the connection's task, for a task each costs more."""
        self._request = request
        if self._task is None:
            self._task = self._loop.create_task(self._work())
        elif self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    async def _work(self) -> None:
        try:
            while (request := self._request) is not None:
                answer = Downstream(
                    self,
                    keep_alive=request.keep_alive and not self._draining,
                    http10=request.http10,
                    bodiless=request.method == b"HEAD",
                )
                try:
                    await self._handler.answer(request, answer)
                finally:
                    self._over_with(answer)
                del request, answer  # a connection that is idle holds on to no body
                if self._request is None and not (self._over or self._gone):
                    self._turn = self._loop.create_future()
                    await self._turn
        finally:  # its frames hold this: a body would stay until the collector comes
            self._task = None

    def _over_with(self, answer: Downstream) -> None:
        # not in `_work`: that a call after it may put the next request there is hidden from
        # the type checker, and so from the compiler
        self._request = None
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
        if self._in.requests or self._in.broken is not None:
            self._go_on(0)
        elif self._ahead:
            data, self._ahead, self._ahead_size = b"".join(self._ahead), [], 0
            if self._transport is not None:
                self._transport.resume_reading()
            self._feed(data)
        elif self._in.begun:  # a later request that came in part with this one
            self._go_on(0)

    def _refuse(self, fault: RequestError) -> None:
        """Answer and end, where there is no whole request to answer."""
        self._forget_time()
        request = self._in.head
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
        if self._in.broken is None and self._in.head is None and not self._ahead:
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
        if self._request is None:
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
