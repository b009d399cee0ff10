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
import time
from typing import Final

import orjson
from aiohttp import HttpVersion11, web
from multidict import CIMultiDict

from sidecar.clock import Clock
from sidecar.dialects import BY_PATH
from sidecar.dialects.base import Dialect
from sidecar.downstream import Downstream, HangUp
from sidecar.errors import (
    BadRequest,
    BodyTimeout,
    BodyTooLarge,
    ExpectationFailed,
    Internal,
    MethodNotAllowed,
    NotFound,
    RequestError,
    TooManyRequests,
    Unauthorized,
    trace,
)
from sidecar.http_server import Server, error_answer, new_request_id, refuse_a_page
from sidecar.parse import Received
from sidecar.pipeline import handle
from sidecar.runtime import Runtime

log = logging.getLogger("sidecar.ingress")

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_MODELS: Final = "/v1/models"


class Ingress:
    """The handler of every request on ``listen``."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._started = int(time.time())

    def server(self) -> Server:
        """The server over this handler, with the configured limits."""
        limits = self._runtime.snapshot.config.limits
        return Server(
            self,  # it returns a Downstream, which answers all that the server asks
            handler_cancellation=True,
            header_timeout_s=limits.header_timeout_s,
            max_head=limits.max_header_kb * 1024,
            refused=self._runtime.telemetry.refused,
            keepalive_timeout=limits.keepalive_s,
            lingering_time=2.0,
        )

    async def __call__(self, request: web.BaseRequest) -> Downstream:
        clock = Clock()
        answer = Downstream(request)
        request_id = new_request_id()
        # as it was sent: a path in another spelling is another path to whoever filters paths
        dialect = BY_PATH.get(request.rel_url.raw_path)
        telemetry = self._runtime.telemetry
        telemetry.in_flight.value += 1
        try:
            self._admit(request, answer)
            if dialect is None:
                await self._other(request, answer, request_id)
                return answer
            if request.method != "POST":
                raise MethodNotAllowed(f"{request.path} answers POST only.", allow="POST")
            body = await self._body(request)
            clock.restart()  # the decision's time is the sidecar's, not the caller's network
            query = request.rel_url.raw_query_string
            if not query.isascii():
                raise BadRequest("The query holds bytes outside ASCII. Encode them as %XX.")
            fields = tuple(request.headers.items())
            received = Received(request_id, dialect, fields, body, query)
            await handle(received, answer, self._runtime, clock)
        except HangUp:
            answer.abort()
        except RequestError as exc:
            if not request.content.is_eof() or isinstance(exc, BodyTooLarge):
                # what is left of its body cannot be told from a next request
                answer.keep_alive = False
            await self._refuse(answer, dialect, exc, request_id)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as exc:
            log.error("request %s failed: %s", request_id, trace(exc))
            fault = Internal("The sidecar failed. The request id is in its log.")
            await self._refuse(answer, dialect, fault, request_id)
        finally:
            telemetry.in_flight.value -= 1
        return answer

    def _admit(self, request: web.BaseRequest, answer: Downstream) -> None:
        """Refuse a caller without the token, one too many, and framing that others may misread."""
        if "Upgrade" in request.headers or request.method == "CONNECT":
            # Declined. What follows may be meant for another protocol: it is not read.
            answer.keep_alive = False
        coding = request.headers.get("Transfer-Encoding", "chunked")
        if coding.lower() != "chunked":
            answer.keep_alive = False
            raise BadRequest(
                "The only transfer coding is chunked. Send no other.", code="invalid_http"
            )
        refuse_a_page(request)
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
        content = request.content
        if "Expect" in request.headers and request.version >= HttpVersion11:
            if request.headers["Expect"].lower() != "100-continue":
                raise ExpectationFailed("The only expectation that is met is 100-continue.")
            if not content.is_eof() and request.transport is not None:
                request.transport.write(_CONTINUE)
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
        if request.rel_url.raw_path != _MODELS:
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
    sent = (each.encode("utf-8", "surrogateescape") for each in (given, key))
    return any(hmac.compare_digest(each, token.encode()) for each in sent)
