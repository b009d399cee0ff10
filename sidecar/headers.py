"""Which headers pass, which do not, and which the router adds.

Hop-by-hop headers end here, with those that ``Connection`` names (RFC 9110,
section 7.6.1). The router's own travel neither up nor, from an upstream, down.
A caller's credentials stay here unless its upstream says ``auth: passthrough``.

Headers are bytes from one socket to the other, and each head is gone through
once: what comes of that are lines ready to send, and the few values that the
router itself looks at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import Final

from sidecar.account import decision_ms
from sidecar.beside import Alike
from sidecar.clock import Clock
from sidecar.config.snapshot import UpstreamSpec
from sidecar.errors import BadRequest
from sidecar.frozen import dataclass
from sidecar.types import Call, Decision, Passed

Fields = Sequence[tuple[bytes, bytes]]

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key", b"api-key"})
# Of the caller's connection or body as it came here, not of what is sent on.
_NOT_UP: Final = _HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"content-encoding",
    b"expect",
    b"cookie",
}
_SEEN: Final = frozenset({b"content-type", b"sec-fetch-site"})  # sent on, and looked at here
_OF_NOTE: Final = _NOT_UP | _CREDENTIALS | _SEEN | {b"accept-encoding"}
# x-accel-buffering is an order to the next proxy, which is this one: it gives its own
_NOT_DOWN: Final = _HOP_BY_HOP | {b"server-timing", b"content-length", b"x-accel-buffering"}
_OF_NOTE_DOWN: Final = _NOT_DOWN | {b"content-type", b"content-encoding", b"retry-after"}
_OURS: Final = b"x-router-"
UNPACKED: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})  # what a copy of can be read
_IN_LINES: Final = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F)])
_TWO: Final = tuple([f".{n:02d}" for n in range(100)])
_THREE: Final = tuple([f".{n:03d}" for n in range(1000)])
_SMALL: Final = tuple([f"{n // 100}.{n % 100:02d}" for n in range(1000)])
_WHOLE: Final = tuple([str(n) for n in range(100)])
_MOST_WAYS: Final = 1024
_WAYS: Final[dict[tuple[str, str, str], str]] = {}
_SAFE: Final = bytes(c if c == 0x09 or 0x20 <= c < 0x7F else 0x3F for c in range(256))


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request's headers, gone through once."""

    said: dict[bytes, bytes] = field(repr=False)  # those of note; repeated ones joined by ", "
    router: Mapping[str, str] = field(repr=False)  # the caller's x-router-* options
    passed: Passed
    size: int  # bytes

    def get(self, name: bytes) -> str | None:
        """The value of a header of note, or None."""
        value = self.said.get(name)
        return None if value is None else value.decode("utf-8", "surrogateescape")


def read(fields: Fields) -> RequestHead:
    """Sort a caller's headers into what may go up and what is for the router."""
    head = _sort(fields, frozenset())
    connection = head.said.get(b"connection")
    if connection is not None and (named := _named(connection)):
        return _sort(fields, named)
    return head


def _sort(fields: Fields, named: Collection[bytes]) -> RequestHead:
    plain: list[bytes] = []
    credentials = encoding = b""
    said: dict[bytes, bytes] = {}
    router: dict[str, str] = {}
    for name, value in fields:
        low = name.lower()
        if low not in _OF_NOTE:
            if low[:9] == _OURS:
                text, option = (
                    value.strip().decode("utf-8", "surrogateescape"),
                    low.decode("latin-1"),
                )
                # twice is for whoever reads them to refuse: a proxy's word and a caller's, say
                router[option] = f"{router[option]}\n{text}" if option in router else text
            elif not named or low not in named:
                plain += (name, b": ", value, b"\r\n")
            continue
        own = value.strip(b" \t")
        said[low] = said[low] + b", " + own if low in said else own
        if low in _NOT_UP or low in named:
            continue
        if low in _CREDENTIALS:
            credentials += name + b": " + value + b"\r\n"
        elif low in _SEEN:
            plain += (name, b": ", value, b"\r\n")
        else:
            encoding += name + b": " + _legible(value) + b"\r\n"
    block = b"".join(plain)
    if block.count(b"\n") != len(plain) >> 2 or block.count(b"\r") != len(plain) >> 2:
        # the parser lets none through: were it to, a header could forge another here
        raise BadRequest("A header holds a line break.", code="invalid_http")
    size = len(block) + len(credentials) + len(encoding)
    size += sum(map(len, said.values())) + sum(map(len, router.values()))
    return RequestHead(said, router, Passed(block, encoding, credentials), size)


def _legible(codings: bytes) -> bytes:
    """What a caller takes compressed, without what no cost can be read from where it takes
    something else too: clients offer Brotli beside gzip, and are as glad of gzip."""
    if b"br" not in codings and b"zstd" not in codings:
        return codings
    offered = [each.strip() for each in codings.split(b",")]
    kept = [each for each in offered if each.partition(b";")[0].strip().lower() in UNPACKED]
    return b", ".join(kept) or codings


def _named(connection: bytes) -> set[bytes]:
    """What a ``Connection`` header names, beside what it says of itself."""
    tokens = {token.strip().lower() for token in connection.split(b",")}
    return tokens - {b"close", b"keep-alive", b""}


def up(passed: Passed, upstream: UpstreamSpec, *, readable: bool = False) -> bytes:
    """The lines that go to ``upstream``, with what that upstream wants sent.

    ``readable`` asks for an answer that is not compressed: one event of it is
    the router's own and must be found.
    """
    lines = passed.plain + (b"Accept-Encoding: identity\r\n" if readable else passed.encoding)
    if upstream.auth == "passthrough":
        lines += passed.credentials
    if upstream.replaced:
        lines = without(lines, upstream.replaced)
    return lines + upstream.sent


def without(lines: bytes, names: Collection[bytes]) -> bytes:
    """Header lines but those of ``names``, which are in small letters."""
    kept = (
        line
        for line in lines.split(b"\r\n")[:-1]
        if line.partition(b":")[0].strip().lower() not in names
    )
    return b"".join(line + b"\r\n" for line in kept)


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """An upstream's headers, gone through once."""

    lines: bytes = field(repr=False)  # that go down
    length: bytes | None  # Content-Length, where the body is not here already
    content_type: str  # in small letters
    coding: bytes  # Content-Encoding in small letters; empty where there is none
    retry_after: str | None


def down(fields: Fields, alike: Alike | None = None) -> AnswerHead:
    """An upstream's headers as they go to the caller.

    Where two answers have the same ``alike``, their headers differ in no more than the
    length of their bodies, which are here, and they are gone through once.
    """
    if alike is None:
        return _down(fields)
    head = alike.made
    if not isinstance(head, AnswerHead):
        head = alike.made = replace(_down(fields), length=None)
    return head


def _down(fields: Fields) -> AnswerHead:
    lines, said = _sorted_down(fields, ())
    connection = said.get(b"connection")
    if connection is not None and (named := _named(connection)):
        lines, said = _sorted_down(fields, named)
    kind, coding, wait = (
        said.get(b"content-type"), said.get(b"content-encoding"), said.get(b"retry-after"),
    )  # fmt: skip
    return AnswerHead(
        lines,
        said.get(b"content-length"),
        "" if kind is None else kind.decode("latin-1").lower(),
        b"" if coding is None or coding.lower() == b"identity" else coding.lower(),
        None if wait is None else wait.decode("latin-1"),
    )


def _sorted_down(fields: Fields, named: Collection[bytes]) -> tuple[bytes, dict[bytes, bytes]]:
    parts: list[bytes] = []
    said: dict[bytes, bytes] = {}
    for name, value in fields:
        low = name.lower()
        if low in _OF_NOTE_DOWN:
            said[low] = said[low] + b", " + value if low in said else value
            if low in _NOT_DOWN or low in named:
                continue
        elif low[:9] == _OURS or (named and low in named):
            continue
        parts += (name, b": ", value, b"\r\n")
    lines = b"".join(parts)
    ends = len(parts) >> 2
    if lines.translate(None, _IN_LINES) or lines.count(b"\n") != ends or lines.count(b"\r") != ends:
        # bytes outside ASCII mean what each reader likes, and a control that one
        # parser lets through may be a line's end to another
        parts[2::4] = [value.translate(_SAFE) for value in parts[2::4]]
        lines = b"".join(parts)
    return lines, said


def of_router(call: Call, decision: Decision, model: str, reason: str, clock: Clock) -> bytes:
    """What every answer says of its routing, once each.

    ``model`` and ``reason`` are the attempt's: a fallback has its own.
    """
    parts = [
        _went(model, decision.route, reason), _thousandths(decision_ms(clock)),
        "\r\nx-router-request-id: ", call.request_id, "\r\nServer-Timing: ",
    ]  # fmt: skip
    comma = ""
    for stage, ms in clock.laps.items():  # W3C Server Timing
        parts += (comma, stage, ";dur=", _hundredths(ms))
        comma = ", "
    parts.append("\r\n")
    lines = "".join(parts)
    if call.hints.explain:
        said = [f"{step.stage}: {step.verdict}" for step in decision.steps]
        said += [
            f"{c.model} has {c.probability:.3f} for {c.cost_usd:.2g} USD"
            if c.probability is not None
            else f"{c.model} for {c.cost_usd:.2g} USD"
            for c in decision.candidates
        ]
        told = " | ".join(said).encode("ascii", "replace").translate(_SAFE).decode()[:2000]
        lines += f"x-router-explain: {told}\r\n"
    return lines.encode("ascii", "replace")


def _went(model: str, route: str, reason: str) -> str:
    """What every request that goes one way says of it, up to its own figures."""
    way = (model, route, reason)
    found = _WAYS.get(way)
    if found is None:
        if len(_WAYS) >= _MOST_WAYS:
            _WAYS.clear()
        found = _WAYS[way] = (
            f"x-router-model: {model}\r\nx-router-route: {route}\r\nx-router-reason: {reason}\r\n"
            "x-router-decision-ms: "
        )
    return found


def _hundredths(ms: float) -> str:
    """``ms``, not negative, to two places: "%.2f" looks for the exact digits, and takes longer."""
    number = int(ms * 1e2 + 0.5)
    if number < 1000:  # nearly all
        return _SMALL[number]
    return str(number // 100) + _TWO[number % 100]


def _thousandths(ms: float) -> str:
    """The same to three places."""
    number = int(ms * 1e3 + 0.5)
    whole = number // 1000
    return (_WHOLE[whole] if whole < 100 else str(whole)) + _THREE[number % 1000]


def lines_of(fields: Iterable[tuple[str, str]]) -> bytes:
    """Headers of the sidecar's own as lines; their names and values are plain ASCII."""
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("ascii")
