"""The listening side: from a whole request to the pipeline, and errors back.

Checks what can be checked before a body is read, unpacks a body within its limit, and
gives every fault the shape of the caller's dialect with a request id.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import zlib
from typing import Final
from urllib.parse import unquote

import orjson

from sidecar import counting, headers
from sidecar.clock import Clock
from sidecar.decide.stages.plan import unknown
from sidecar.dialects import BY_PATH, DIALECTS
from sidecar.dialects.base import Dialect
from sidecar.errors import (
    BadRequest,
    BodyTooLarge,
    ExpectationFailed,
    Internal,
    MethodNotAllowed,
    NotFound,
    RequestError,
    TooManyRequests,
    Unauthorized,
    UpstreamsFailed,
    trace,
)
from sidecar.headers import RequestHead
from sidecar.listen.downstream import Downstream, HangUp
from sidecar.listen.incoming import Bounds
from sidecar.listen.refusal import error_answer, new_request_id, refuse_a_page
from sidecar.listen.request import Request
from sidecar.listen.room import SMALL, Room, most_by_memory
from sidecar.parse import Received
from sidecar.pipeline import handle
from sidecar.runtime import Runtime

log = logging.getLogger("sidecar.ingress")

_MODELS: Final = b"/v1/models"
_ONE_MODEL: Final = _MODELS + b"/"
_ANSWERS: Final = b"/v1/responses/"
_MESSAGES: Final = b"/v1/messages"
_COUNT: Final = _MESSAGES + counting.BELOW.encode()
_DIALECTS: Final = {
    **{path.encode(): dialect for path, dialect in BY_PATH.items()},
    _COUNT: DIALECTS["messages"],
}
_WINDOW_BITS: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
_AT_ONCE: Final = 1 << 16  # bytes of a packed body that the event loop itself unpacks


class Ingress:
    """The handler of every request on ``listen``."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._started = int(time.time())
        self._room = Room()
        self._most_by_memory = most_by_memory()

    def bounds(self) -> Bounds:
        """The limits of a connection that is made now."""
        limits = self._runtime.snapshot.config.limits
        return Bounds(
            max_head=limits.max_header_kb * 1024,
            max_body=int(limits.max_body_mb * 1024 * 1024),
            head_s=limits.header_timeout_s,
            body_s=limits.body_timeout_s,
            idle_s=limits.keepalive_s,
        )

    def admit(self, request: Request) -> None:
        """Refuse what needs no body to be refused: by caller, path, method, size."""
        # as it was sent: a path in another spelling is another path to whoever filters paths
        self._admit(request, request.target.partition(b"?")[0])

    def _admit(self, request: Request, path: bytes) -> None:
        said = request.head.said
        if b"sec-fetch-site" in said:
            refuse_a_page(request.head.get(b"sec-fetch-site"))
        snapshot = self._runtime.snapshot
        if snapshot.token is not None and not _knows(request.head, snapshot.token.reveal()):
            raise Unauthorized(
                "The sidecar asks for a token. Send it as `Authorization: Bearer TOKEN`.",
                code="invalid_token",
            )
        if path in _DIALECTS:
            if request.method != b"POST":
                raise MethodNotAllowed(f"{path.decode()} answers POST only.", allow="POST")
        elif path != _MODELS and not path.startswith(_ONE_MODEL):
            raise NotFound(_nothing_at(path))
        elif request.method != b"GET":
            raise MethodNotAllowed("/v1/models answers GET only.", allow="GET")
        # a body that is here has the length that was said, or was bounded as it came
        size = len(request.body) if request.whole else int(said.get(b"content-length", 0))
        most = snapshot.config.limits.max_body_mb
        if size > most * 1048576:
            raise BodyTooLarge(f"The body is larger than {most:g} MB.")
        if size >= SMALL or b"transfer-encoding" in said:
            self._claim_room(request)
        if b"expect" in said and not request.http10 and said[b"expect"].lower() != b"100-continue":
            raise ExpectationFailed("The only expectation that is met is 100-continue.")

    async def answer(self, request: Request, answer: Downstream) -> None:
        """Answer a whole request, with an error if need be."""
        clock = Clock()  # the decision's time is the sidecar's, not the caller's network
        telemetry = self._runtime.telemetry
        telemetry.in_flight.value += 1
        request_id = new_request_id()
        path, _, query = request.target.partition(b"?")
        dialect = _DIALECTS.get(path)
        try:
            if not request.admitted:
                self._admit(request, path)
            self._leave_room()
            if dialect is None:
                self._tell_models(answer, request_id, path)
                return
            if not query.isascii():
                raise BadRequest("The query holds bytes outside ASCII. Encode them as %XX.")
            body = request.body
            if b"content-encoding" in request.head.said:
                body = await self._unpacked(request)
                clock.restart()
            received = Received(request_id, dialect, request.head, body, query.decode())
            if path == _COUNT:
                await counting.count(received, answer, self._runtime, clock)
            else:
                await handle(received, answer, self._runtime, clock)
        except HangUp:
            answer.abort()
        except RequestError as exc:
            self._refuse(answer, _spoken_at(path), exc, request_id)
        except Exception as exc:
            log.error("request %s failed: %s", request_id, trace(exc))
            fault = Internal("The sidecar failed. The request id is in its log.")
            self._refuse(answer, _spoken_at(path), fault, request_id)
        finally:
            telemetry.in_flight.value -= 1

    def refuse(self, request: Request | None, answer: Downstream, fault: RequestError) -> None:
        """Answer a request that is not whole, or none."""
        path = request.target.partition(b"?")[0] if request is not None else b""
        self._refuse(answer, _spoken_at(path), fault, new_request_id())

    def _refuse(
        self, answer: Downstream, dialect: Dialect | None, exc: RequestError, request_id: str
    ) -> None:
        self._runtime.telemetry.refused(exc.status, exc.code)
        if answer.started:  # too late for an error of our own
            answer.abort()
            return
        fields, body = error_answer(dialect, exc, request_id)
        routing = exc.routing if isinstance(exc, UpstreamsFailed) else b""
        if routing:  # they carry the id
            del fields["x-router-request-id"]
        try:
            answer.answer(exc.status, headers.lines_of(fields.items()) + routing, body)
        except HangUp:
            answer.abort()

    def _leave_room(self) -> None:
        limit = self._runtime.snapshot.config.limits.max_concurrent
        if self._runtime.telemetry.in_flight.value > limit:
            raise TooManyRequests(
                f"{limit} requests are being answered, which is the limit. Try again.",
                code="too_many_requests",
            )

    def _claim_room(self, request: Request) -> None:
        """Hold the room that a body takes, or ask its caller to come again."""
        limits = self._runtime.snapshot.config.limits
        said = request.head.said.get(b"content-length")
        if said is not None:
            size = int(said)
        elif b"transfer-encoding" in request.head.said:  # whatever it turns out to be
            size = len(request.body) if request.whole else int(limits.max_body_mb * (1 << 20))
        else:
            return
        if size < SMALL:
            return
        most = self._most_by_memory
        if limits.max_bodies_mb is not None:
            most = int(limits.max_bodies_mb * (1 << 20))
        request.claim = self._room.claim(size, most)
        if request.claim is None:
            raise TooManyRequests(
                "The bodies of the requests under way take all the room there is. Try again.",
                code="too_many_bytes",
            )

    def _tell_models(self, answer: Downstream, request_id: str, path: bytes) -> None:
        """All that may be asked for, or the one that the path names."""
        snapshot = self._runtime.snapshot
        data = [
            {"id": name, "object": "model", "created": self._started, "owned_by": owner}
            for owner, names in (("route", snapshot.routes), ("model", snapshot.models))
            for name in names
        ]
        said: dict[str, object] = {"object": "list", "data": data}
        if path != _MODELS:
            wanted = unquote(path.removeprefix(_ONE_MODEL))
            found = next((each for each in data if each["id"] == wanted), None)
            if found is None:
                raise unknown(wanted, snapshot)
            said = found
        lines = headers.lines_of([("x-router-request-id", request_id)])
        answer.answer(200, lines, orjson.dumps(said))

    async def _unpacked(self, request: Request) -> bytes:
        """The body as it was before its ``Content-Encoding``."""
        limits = self._runtime.snapshot.config.limits
        most = int(limits.max_body_mb * 1024 * 1024)
        coding = request.head.said[b"content-encoding"].lower()
        if coding in {b"", b"identity"} or not request.body:
            return request.body
        if len(request.body) < _AT_ONCE and most < 1 << 20:
            body = unpack(request.body, coding, most)
        else:  # it may grow to the limit, and others should not wait for that
            body = await asyncio.to_thread(unpack, request.body, coding, most)
        if len(body) > most:
            raise BodyTooLarge(f"The body is larger than {limits.max_body_mb:g} MB.")
        return body


def _spoken_at(path: bytes) -> Dialect | None:
    """Whose errors a caller of ``path`` reads, where nothing is served too."""
    if path.startswith(_MESSAGES + b"/"):  # batches
        return _DIALECTS[_MESSAGES]
    return _DIALECTS.get(path)


def _nothing_at(path: bytes) -> str:
    """What to ask instead; of a base URL with a /v1 too few or too many, that it has."""
    served = ", ".join(f"POST {path.decode()}" for path in _DIALECTS)
    there = f"There are {served} and GET {_MODELS.decode()}."
    if (meant := b"/v1" + path) in _DIALECTS or meant == _MODELS:
        return f"Nothing is served here: the base URL lacks a /v1. {there}"
    if (meant := path.removeprefix(b"/v1")) in _DIALECTS or meant == _MODELS:
        return (
            "Nothing is served here: the base URL has a /v1 too many, which Anthropic's clients "
            f"add themselves. {there}"
        )
    if path.startswith(_ANSWERS):
        return (
            "An answer that is kept, or made in the background, is its provider's: ask there, or "
            f"send the next question with its id as `previous_response_id`. {there}"
        )
    return f"Nothing is served here. {there}"


def unpack(body: bytes, coding: bytes, most: int) -> bytes:
    """``body`` without its ``coding``, or its first ``most + 1`` bytes.

    Raises :class:`BadRequest` where it is not what its coding says.
    """
    bad = BadRequest("The body could not be read: check its encoding.")
    bits = _WINDOW_BITS.get(coding)
    if bits is None:
        raise bad
    if coding == b"deflate" and body[0] & 0x0F != 8:
        bits = -15  # raw, as some send it: RFC 9110, section 8.4.1.2
    unpacker = zlib.decompressobj(bits)
    try:
        whole = unpacker.decompress(body, most + 1)
    except zlib.error:
        raise bad from None
    if len(whole) <= most and (not unpacker.eof or unpacker.unused_data):
        raise bad
    return whole


def _knows(head: RequestHead, token: str) -> bool:
    """Whether the caller sent ``token``, in the header of either API; in constant time."""
    scheme, _, given = head.said.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer":  # in any case: RFC 9110, section 11.1
        given = scheme
    key = head.said.get(b"x-api-key", b"")
    return any(hmac.compare_digest(each, token.encode()) for each in (given, key))
