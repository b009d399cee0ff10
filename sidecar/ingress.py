"""The listening side: from a socket to the pipeline, and errors back.

Checks what can be checked before a body is read, reads the body under its
limits, and gives every fault the shape of the caller's dialect with a request
id. The server is aiohttp's low-level one, without routing or middleware, and a
caller who hangs up cancels the handler, and with it the upstream.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import time
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict

from sidecar.clock import Clock
from sidecar.dialects import BY_PATH, DIALECTS
from sidecar.dialects.base import Dialect
from sidecar.downstream import Downstream, HangUp
from sidecar.errors import (
    BadRequest,
    BodyTimeout,
    BodyTooLarge,
    HeadersTooLarge,
    MethodNotAllowed,
    NotFound,
    RequestError,
    TooManyRequests,
    Unauthorized,
    UpstreamsFailed,
)
from sidecar.parse import Received
from sidecar.pipeline import handle
from sidecar.runtime import Runtime

log = logging.getLogger("sidecar.ingress")

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_MODELS: Final = "/v1/models"


class Internal(RequestError):
    """A fault of the sidecar's own."""

    code = "internal_error"


class Ingress:
    """The handler of every request on ``listen``."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._started = int(time.time())

    def server(self) -> web.Server:
        """aiohttp's low-level server over this handler, with the configured limits."""
        limits = self._runtime.snapshot.config.limits
        line = limits.max_header_kb * 1024
        return _Server(
            self,  # it returns a Downstream, which answers all that the server asks
            handler_cancellation=True,
            access_log=None,
            logger=log,
            max_line_size=line,
            max_field_size=line,
            keepalive_timeout=limits.keepalive_s,
            lingering_time=2.0,
        )

    async def __call__(self, request: web.BaseRequest) -> Downstream:
        clock = Clock()
        answer = Downstream(request)
        request_id = new_request_id()
        dialect = BY_PATH.get(request.path)
        telemetry = self._runtime.telemetry
        telemetry.in_flight.value += 1
        try:
            self._admit(request)
            if dialect is None:
                await self._other(request, answer, request_id)
                return answer
            if request.method != "POST":
                raise MethodNotAllowed(f"{request.path} answers POST only.", allow="POST")
            body = await self._body(request)
            clock.restart()  # the decision's time is the sidecar's, not the caller's network
            query = request.rel_url.raw_query_string
            fields = tuple(request.headers.items())
            received = Received(request_id, dialect, fields, body, query)
            await handle(received, answer, self._runtime, clock)
        except HangUp:
            answer.abort()
        except RequestError as exc:
            if not request.content.is_eof():
                # what is left of its body cannot be told from a next request
                answer.keep_alive = False
            await self._refuse(answer, dialect, exc, request_id)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            log.exception("request %s failed", request_id)
            fault = Internal("The sidecar failed. The request id is in its log.")
            await self._refuse(answer, dialect, fault, request_id)
        finally:
            telemetry.in_flight.value -= 1
        return answer

    def _admit(self, request: web.BaseRequest) -> None:
        """Refuse a caller without the token, where one is asked for, and one too many."""
        snapshot = self._runtime.snapshot
        if snapshot.token is not None and not _knows(request, snapshot.token.reveal()):
            raise Unauthorized(
                "The sidecar asks for a token. Send it as `Authorization: Bearer TOKEN`.",
                code="invalid_token",
            )
        limit = snapshot.config.limits.max_concurrent
        if self._runtime.telemetry.in_flight.value > limit:
            raise TooManyRequests(
                f"{limit} requests are being answered, which is the limit. Try again.",
                code="too_many_requests",
            )

    async def _body(self, request: web.BaseRequest) -> bytes:
        """The whole body, or an error that says which limit it broke."""
        limits = self._runtime.snapshot.config.limits
        limit = int(limits.max_body_mb * 1024 * 1024)
        too_large = f"The body is larger than {limits.max_body_mb:g} MB."
        if (request.content_length or 0) > limit:
            raise BodyTooLarge(too_large)
        if "expect" in request.headers and request.transport is not None:
            request.transport.write(_CONTINUE)
        content = request.content
        chunks: list[bytes] = []
        size = 0
        try:
            if content.is_eof():  # all of it came with its headers, as small bodies do
                chunks.append(content.read_nowait(-1))
                size = len(chunks[0])
            else:
                async with asyncio.timeout(limits.body_timeout_s):
                    while size <= limit and (chunk := await content.readany()):
                        size += len(chunk)
                        chunks.append(chunk)
        except TimeoutError:
            raise BodyTimeout(
                f"The body was not complete after {limits.body_timeout_s:g} s. Send all of it."
            ) from None
        except web.RequestPayloadError as exc:
            raise BadRequest("The body could not be read: check its encoding.") from exc
        if size > limit:
            raise BodyTooLarge(too_large)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _other(self, request: web.BaseRequest, answer: Downstream, request_id: str) -> None:
        if request.path != _MODELS:
            served = ", ".join(f"POST {path}" for path in BY_PATH)
            raise NotFound(f"Nothing is served here. There are {served} and GET {_MODELS}.")
        if request.method != "GET":
            raise MethodNotAllowed(f"{_MODELS} answers GET only.", allow="GET")
        snapshot = self._runtime.snapshot
        data = [
            {"id": name, "object": "model", "created": self._started, "owned_by": owner}
            for owner, names in (("route", snapshot.routes), ("model", snapshot.models))
            for name in names
        ]
        head = CIMultiDict({"x-router-request-id": request_id})
        await answer.answer(200, head, orjson.dumps({"object": "list", "data": data}))

    async def _refuse(
        self, answer: Downstream, dialect: Dialect | None, exc: RequestError, request_id: str
    ) -> None:
        self._runtime.telemetry.refused(exc.status, exc.code)
        if answer.started:  # too late for an error of our own
            answer.abort()
            return
        try:
            await answer.answer(exc.status, *error_answer(dialect, exc, request_id))
        except HangUp:
            answer.abort()


def _knows(request: web.BaseRequest, token: str) -> bool:
    """Whether the caller sent ``token``, in the header of either API; in constant time."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    key = request.headers.get("x-api-key", "")
    return any(hmac.compare_digest(one.encode(), token.encode()) for one in (given, key))


def new_request_id() -> str:
    """Unique, and of no meaning: 96 random bits."""
    return f"req_{os.urandom(12).hex()}"


def error_answer(
    dialect: Dialect | None, exc: RequestError, request_id: str
) -> tuple[CIMultiDict[str], bytes]:
    """The head and body of an error, in the caller's dialect as far as it is known."""
    head = CIMultiDict({"x-router-request-id": request_id, "x-request-id": request_id})
    if isinstance(exc, MethodNotAllowed):
        head["Allow"] = exc.allow
    if isinstance(exc, TooManyRequests):
        head["Retry-After"] = "1"
    if isinstance(exc, UpstreamsFailed):
        head["x-should-retry"] = "false"
    speaker = dialect or DIALECTS["chat"]
    return head, speaker.error(exc, request_id)


class _Server(web.Server):
    """aiohttp's server with a protocol that speaks JSON of malformed HTTP too."""

    def __init__(self, handler: Any, **kwargs: Any) -> None:
        super().__init__(handler, **kwargs)
        self._protocol_args = {k: v for k, v in kwargs.items() if k != "handler_cancellation"}

    def __call__(self) -> RequestHandler:
        return _Protocol(self, loop=asyncio.get_running_loop(), **self._protocol_args)


class _Protocol(RequestHandler):
    """Answers what its parser refuses, without a word of it in the log."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        fault: RequestError
        if isinstance(exc, LineTooLong):
            fault = HeadersTooLarge("The request line or a header is too long. Shorten it.")
        elif isinstance(exc, BadHttpMessage) or status == 400:
            fault = BadRequest("The request is not valid HTTP/1.1.", code="invalid_http")
        else:
            log.error("a request failed outside its handler (%s)", type(exc).__name__)
            fault = Internal("The sidecar failed.")
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        head, body = error_answer(None, fault, new_request_id())
        answer = web.Response(
            status=fault.status, body=body, headers=head, content_type="application/json"
        )
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        # aiohttp would log the exception, and a parser's quotes what was sent
        exc = kwargs.get("exc_info")
        log.error("connection failed (%s)", type(exc).__name__)
