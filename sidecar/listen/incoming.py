"""Requests as they come in on one connection: bytes to whole, checked requests.

httptools (llhttp, strict) tells what it reads; this gathers a request of it, keeps it
within the caller's bounds and refuses what two readers could read in two ways. No clock
and no transport: who feeds it says what comes of what was read.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import httptools

from sidecar import headers
from sidecar.errors import BadRequest, BodyTooLarge, HeadersTooLarge, RequestError, trace
from sidecar.listen.known_head import KnownHead
from sidecar.listen.request import Request

log = logging.getLogger("sidecar.http")

_MOST_HEADERS: Final = 128
_GIVEN_UP: Final = 8  # heads that differ, after which a connection's next is not looked for
_LINE_END: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a caller may take of room and time."""

    max_head: int  # bytes
    max_body: int  # bytes
    head_s: float  # from the first byte of a head to its last
    body_s: float  # from the end of the head
    idle_s: float  # between requests


class Incoming:
    """What has been read of a connection, and not been taken yet."""

    __slots__ = (
        "_body", "_bounds", "_fields", "_known", "_parser", "_plain", "_size", "_strange",
        "_target", "begun", "broken", "head", "requests",
    )  # fmt: skip

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._size = 0
        self._plain = False  # a body read by a parser that was not told of an upgrade
        self._known: KnownHead | None = None  # the last head that came
        self._strange = 0  # heads in a row that were not the one before them
        self.begun = False  # a request has begun and is not whole
        self.head: Request | None = None  # its head is whole, its body not
        self.requests: deque[Request] = deque()  # whole ones, in the order they came
        self.broken: RequestError | None = None  # nothing more can be read here

    def feed(self, data: bytes) -> None:
        """Read ``data``; a fault of it is in :attr:`broken`, the first one for good."""
        fresh = not (self.begun or self.requests) and self.broken is None
        if fresh and self._known is not None:
            request = self._known.again(data)
            if request is not None:
                self._strange = 0
                self.requests.append(request)
                return
        self._read(data)
        if fresh and not self.begun and self._strange < _GIVEN_UP and len(self.requests) == 1:
            self._known = KnownHead.of(data, self.requests[0], self._bounds.max_body)
            self._strange += 1

    def _read(self, data: bytes) -> None:
        try:
            self._parse(data)
            if len(self._fields) > _MOST_HEADERS and self.broken is None:
                self.broken = too_many()
        except httptools.HttpParserError as exc:
            if self.broken is None:
                cause = exc.__context__
                self.broken = cause if isinstance(cause, RequestError) else invalid()
                if not isinstance(cause, RequestError | None):
                    log.error("a request could not be read: %s", trace(cause))

    def forget(self) -> None:
        """Let go of a request that will not become whole."""
        self.head, self._body = None, []

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._declined(data[exc.args[0] :])

    # -- httptools ----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.begun = True

    def on_url(self, url: bytes) -> None:
        if not self._plain:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is None:  # else a trailer, of which nobody needs to know
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        if self._plain:
            return
        parser, target, fields = self._parser, self._target, self._fields
        self._target, self._fields = b"", []
        if len(fields) > _MOST_HEADERS:
            raise too_many()
        version = parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            raise invalid()
        head = headers.read(fields)
        if head.size + len(target) > self._bounds.max_head:
            raise too_large(self._bounds)
        request = Request(parser.get_method(), target, head)
        request.http10 = version == "1.0"
        _check(request)
        request.keep_alive = parser.should_keep_alive() and b"upgrade" not in head.said
        self.head = request

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._size += len(body)
        if self._size > self._bounds.max_body:
            mb = self._bounds.max_body / (1 << 20)
            raise BodyTooLarge(f"The body is larger than {mb:g} MB.")

    def on_message_complete(self) -> None:
        request = self.head
        if request is None or (not self._plain and self._parser.should_upgrade()):
            return  # of an upgrade: its body comes behind this end
        body = self._body
        request.body = body[0] if len(body) == 1 else b"".join(body)
        request.whole = True
        self.head = None
        self.begun = False
        self._body = []
        self._size = 0
        self.requests.append(request)

    def _declined(self, rest: bytes) -> None:
        """Read the body of a request that would change the protocol as if it would not.

        ``rest`` is what came behind its head, which llhttp takes for the other protocol.
        """
        request = self.head
        assert request is not None
        if request.method == b"CONNECT":
            request.keep_alive = False
            request.whole = True
            self.head = None
            self.requests.append(request)
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


def too_large(bounds: Bounds) -> HeadersTooLarge:
    kb = bounds.max_head >> 10
    return HeadersTooLarge(f"The headers are larger than {kb} KB or too long. Shorten them.")


def too_many() -> HeadersTooLarge:
    return HeadersTooLarge("The request has too many headers. Send fewer.")


def invalid() -> BadRequest:
    return BadRequest("The request is not valid HTTP/1.1.", code="invalid_http")


def _check(request: Request) -> None:
    """Refuse what llhttp passes and another reader may read otherwise."""
    said, target = request.head.said, request.target
    host = said.get(b"host")
    if (host is None and not request.http10) or (host is not None and b"," in host):
        raise invalid()
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
        raise invalid()
    try:
        parts: Any = httptools.parse_url(target)  # what a URL lacks is None there
    except httptools.HttpParserInvalidURLError:
        raise invalid() from None
    path = parts.path or b"/"
    return path + b"?" + parts.query if parts.query else path
