"""HTTP/1.1 beneath the admin port: aiohttp's server, with what it leaves open closed.

Its parser refuses what a proxy must refuse. Here that refusal becomes an error
in JSON on the last answer of a connection, without a word of the request in a
log and without a line that a caller could fill the log with; a head that does
not come whole in time, or is too large, ends its connection; and no answer says
what software wrote it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import RequestHandler

from sidecar.errors import (
    BadRequest,
    HeadersTooLarge,
    HeaderTimeout,
    Internal,
    RequestError,
    trace,
)
from sidecar.listen.refusal import error_answer, new_request_id

log = logging.getLogger("sidecar.http")

Refused = Callable[[int, str | None], None]  # told the status and code of each refusal
_LINE_ENDS: Final = b"\r\n"


class Server(web.Server):
    """aiohttp's server over connections of :class:`Connection`.

    ``max_head`` bounds, in bytes, each line of a head and what is kept of an
    unfinished one; ``refused`` is told of what the parser refuses.
    """

    def __init__(
        self,
        handler: Any,
        *,
        header_timeout_s: float,
        max_head: int,
        refused: Refused,
        request_factory: Any = None,
        handler_cancellation: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            handler,
            request_factory=request_factory,
            handler_cancellation=handler_cancellation,
        )
        self.header_timeout_s = header_timeout_s
        self.max_head = max_head
        self.refused = refused
        self._options = {"access_log": None, "logger": log, **options}
        self._options |= {"max_line_size": max_head, "max_field_size": max_head}

    def __call__(self) -> RequestHandler:
        return Connection(self, self._options)

    def _make_request(
        self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> web.BaseRequest:
        if message.path[0] != "/" and message.url.absolute:
            # An absolute target's host means nothing here, and a strange one is
            # one that aiohttp cannot read.
            message = message._replace(url=message.url.relative())
        return super()._make_request(message, payload, protocol, writer, task)


class Connection(RequestHandler):
    """One caller's connection."""

    __slots__ = ("_head_bytes", "_head_timer", "_server")

    def __init__(self, server: Server, options: dict[str, Any]) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._server = server
        self._head_bytes = 0  # of a head that is not whole yet
        self._head_timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        try:
            await super().start()
        except Exception as exc:
            # before a handler had it: aiohttp would leave the connection hanging
            log.debug("a connection failed: %s", trace(exc))
            self.force_close()

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except Exception as exc:
            log.debug("a connection failed: %s", trace(exc))
            self.force_close()
            return
        # Waiting for a request, or not yet begun to: then these bytes are of a head
        # that is not whole.
        waiter = self._waiter
        if self._request_count == 0 if waiter is None else not waiter.done():
            self._half_a_head(data)
        elif self._head_timer is not None:
            self._forget_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def _half_a_head(self, data: bytes) -> None:
        """Note bytes after which the connection still waits for a request to begin."""
        if self._head_timer is None:
            if not data.strip(_LINE_ENDS):  # allowed between requests
                return
            wait = self._server.header_timeout_s
            self._head_timer = self._loop.call_later(wait, self._head_is_late)
        self._head_bytes += len(data)
        if self._head_bytes > self._server.max_head:
            kb = self._server.max_head >> 10
            self._refuse(HeadersTooLarge(f"The headers are larger than {kb} KB. Shorten them."))

    def _head_is_late(self) -> None:
        wait = self._server.header_timeout_s
        self._refuse(
            HeaderTimeout(f"The headers were not complete after {wait:g} s. Send all of them.")
        )

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._head_bytes = 0

    def _refuse(self, fault: RequestError) -> None:
        """Answer and close, where no request is there to answer."""
        self._forget_head()
        self._server.refused(fault.status, fault.code)
        fields, body = error_answer(None, fault, new_request_id())
        head = f"HTTP/1.1 {fault.status} {fault.reason}\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        if self.transport is not None:
            self.transport.write(head.encode("ascii") + b"\r\n" + body)
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> Any:
        """What aiohttp asks where its parser, or a handler, gave up on a request."""
        if isinstance(exc, ConnectionError):  # the caller left: nothing to answer, or to say
            raise exc
        fault: RequestError
        if isinstance(exc, LineTooLong):
            fault = HeadersTooLarge("The request line or a header is too long. Shorten it.")
        elif isinstance(exc, BadHttpMessage) and exc.message.startswith("Too many headers"):
            fault = HeadersTooLarge("The request has too many headers. Send fewer.")
        elif isinstance(exc, BadHttpMessage) or status == 400:
            fault = BadRequest("The request is not valid HTTP/1.1.", code="invalid_http")
        else:
            log.error("a request failed outside its handler: %s", trace(exc))
            fault = Internal("The sidecar failed.")
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        self._refuse(fault)
        return _Answered()

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """aiohttp would log the exception, and a parser's quotes what was sent."""
        exc = kwargs.get("exc_info")
        # a body that is not what its encoding says, noticed once more after its
        # refusal: the caller's fault, and not worth a line each time
        quiet = isinstance(exc, BadHttpMessage | web.PayloadAccessError | web.RequestPayloadError)
        log.log(logging.DEBUG if quiet else logging.ERROR, "connection failed: %s", trace(exc))


class _Answered:
    """What aiohttp asks of an answer, of one that is out already: its connection's last."""

    keep_alive = False

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self) -> None:
        return None
