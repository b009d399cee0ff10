"""The request body as bytes: checked once, searched in place, never re-encoded.

The body that goes up is the one that came, except for the value of its
top-level ``model``. So parsing must yield, beside the Python object, *where*
that value stands. :func:`parse_object` gives the object, :func:`value_spans`
the place, and :func:`edited` the bytes to send.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import orjson

from sidecar.errors import BadRequest
from sidecar.types import Edit

# A JSON string, or one structural character: enough to walk the nesting of a
# document already known to be valid. The string comes first so that brackets
# inside text are skipped at the regex engine's speed.
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]', re.DOTALL)
# a quote within a string is escaped: without one before it, this is a key's
_USAGE: Final = re.compile(rb'(?<!\\)"usage"\s*:\s*(?=\{)')
_BACKSLASH: Final = 0x5C
_QUOTE: Final = 0x22
_SHORT: Final = 64  # bytes
_SPACE: Final = b" \t\r\n"
_GAP: Final = re.compile(rb"[ \t\r\n]*")
_SCALAR: Final = re.compile(rb"[^,\]} \t\r\n]+")


def parse_object(body: bytes) -> dict[str, Any]:
    """The body as one JSON object.

    Raises :class:`BadRequest` with a sentence that says what is wrong: empty,
    not UTF-8, not JSON, nested too deeply, or not an object.
    """
    if not body.strip(_SPACE):
        raise BadRequest("The body is empty. Send one JSON object.", code="invalid_json")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        value = _parse_slowly(body, exc)
    if not isinstance(value, dict):
        raise BadRequest(
            f"The body is a JSON {_json_type(value)}. Send one JSON object.", code="invalid_json"
        )
    return value


def _parse_slowly(body: bytes, fault: orjson.JSONDecodeError) -> Any:
    """The one thing orjson refuses that JSON allows: an unpaired surrogate escape."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise BadRequest(
            f"The body is not valid UTF-8 (byte {exc.start}). Encode it as UTF-8.",
            code="invalid_json",
        ) from None
    if b"\\ud" in body or b"\\uD" in body:
        try:
            return json.loads(text, parse_constant=_refuse_constant, parse_int=_integer)
        except (ValueError, RecursionError):
            pass
    raise BadRequest(
        f"The body is not valid JSON: {fault.msg.split(':')[0]} "
        f"(line {fault.lineno}, column {fault.colno}).",
        code="invalid_json",
    )


def _integer(digits: str) -> int | float:
    """As orjson reads one: beyond 64 bits it is a float."""
    value = float(digits)
    return int(digits) if -(2.0**63) <= value < 2.0**64 else value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _json_type(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def model_span(body: bytes) -> tuple[int, int]:
    """Where the value of the top-level ``model`` stands, as ``body[start:end]``.

    ``body`` must be a valid JSON object that has the key. Raises
    :class:`BadRequest` where the key stands twice: readers disagree on which
    counts, so the router and the upstream might not mean the same model.
    """
    # The common case needs no walk. A key `model` is spelled `"model"` unless a
    # letter of it is escaped, and all five letters are \u006x. With one such
    # spelling in the whole body and no such escape, it must be the key itself.
    at = body.find(b'"model"') + 7
    escaped = _BACKSLASH in body and body.find(b"\\u006") >= 0
    if at > 6 and body.find(b'"model"', at) < 0 and not escaped:
        return _value_at(body, at)  # past the colon
    spans = value_spans(body, "model")
    if len(spans) != 1:
        raise BadRequest(
            "The body names `model` more than once. Send the key once.",
            param="model",
            code="duplicate_key",
        )
    return spans[0]


def value_spans(body: bytes, key: str) -> list[tuple[int, int]]:
    """Where the values of the top-level ``key`` stand, in order, without white space.

    ``body`` must be a valid JSON object. Linear in its length.
    """
    spans: list[tuple[int, int]] = []
    depth, expect_key, last = 0, False, b""
    start = -1  # of a value that is being walked over
    for match in _TOKEN.finditer(body):
        token = match.group()
        head = token[0]
        if head == 0x22:  # a string
            if depth == 1 and expect_key:
                last = token
            continue
        if head in b"{[":
            depth += 1
            expect_key = depth == 1
            continue
        if head in b"}]":
            depth -= 1
        elif depth == 1 and head == 0x3A:  # a colon: the value follows
            expect_key = False
            start = match.end() if json.loads(last) == key else -1
            continue
        if start >= 0 and depth == (1 if head == 0x2C else 0):  # a comma, or the end
            spans.append(_trimmed(body, start, match.start()))
            start = -1
        expect_key = expect_key or (depth == 1 and head == 0x2C)
    return spans


def _trimmed(body: bytes, start: int, end: int) -> tuple[int, int]:
    value = body[start:end]
    return start + len(value) - len(value.lstrip(_SPACE)), start + len(value.rstrip(_SPACE))


def _value_at(body: bytes, start: int) -> tuple[int, int]:
    """The span of the string value that begins at or after ``start``."""
    first = start
    while body[first] != _QUOTE:
        first += 1
    # a name is short: to look at each byte takes the compiler less than a call that finds one
    for last in range(first + 1, min(first + _SHORT, len(body))):
        byte = body[last]
        if byte == _QUOTE:
            return first, last + 1
        if byte == _BACKSLASH:
            break
    else:
        last = body.find(b'"', first + 1)
        if body.find(b"\\", first, last) < 0:
            return first, last + 1
    match = _TOKEN.search(body, first)
    assert match is not None  # the caller parsed the body: a value stands here
    return match.span()


@dataclass(frozen=True, slots=True)
class Member:
    """One key of an object and its value, by where they stand."""

    key: str
    start: int  # of the key, at its quote
    key_end: int
    value: int
    end: int


def members(body: bytes, start: int) -> list[Member]:
    """The members of the object whose brace is ``body[start]``, in order.

    ``body`` must be valid JSON. Linear in the object's length.
    """
    found: list[Member] = []
    at = _past_space(body, start + 1)
    while body[at] != 0x7D:
        key_end = _value_end(body, at)
        value = _past_space(body, body.index(b":", key_end) + 1)
        end = _value_end(body, value)
        found.append(Member(json.loads(body[at:key_end]), at, key_end, value, end))
        at = _past_space(body, end)
        if body[at] == 0x2C:
            at = _past_space(body, at + 1)
    return found


def first_element(body: bytes, start: int) -> int:
    """Where the first element of the non-empty array that begins at ``start`` begins."""
    return _past_space(body, start + 1)


def _past_space(body: bytes, at: int) -> int:
    match = _GAP.match(body, at)
    return match.end() if match else at


def _value_end(body: bytes, start: int) -> int:
    """Where the value that begins at ``start`` ends."""
    head = body[start]
    if head == 0x22:
        return _value_at(body, start)[1]
    if head not in b"{[":
        match = _SCALAR.match(body, start)
        return match.end() if match else start
    depth = 0
    for match in _TOKEN.finditer(body, start):
        mark = body[match.start()]
        if mark in b"{[":
            depth += 1
        elif mark in b"}]":
            depth -= 1
            if not depth:
                return match.end()
    return len(body)


def usage_at_end(tail: bytes) -> bytes | None:
    """An answer that is the last ``usage`` object in the end of one, None where there is none."""
    starts = [found.end() for found in _USAGE.finditer(tail)]
    if not starts:
        return None
    return b'{"usage":%b}' % tail[starts[-1] : _value_end(tail, starts[-1])]


def edited(body: bytes, edits: Sequence[Edit]) -> bytes:
    """``body`` with each edit made, all else as it was. The edits must not overlap."""
    parts: list[bytes] = []
    at = 0
    # what is put in at a place comes before what is taken away from there on
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        parts += (body[at : edit.start], edit.data)
        at = edit.end
    parts.append(body[at:])
    return b"".join(parts)


def with_flag(body: bytes, parsed: Mapping[str, Any], key: str, flag: str) -> Edit:
    """The edit that makes ``flag`` true in the object at the top-level ``key``.

    ``parsed`` is the body as an object, whose ``key`` is an object, null or not
    there. Whatever else stands in that object stays as its bytes are: numbers of
    any length, half characters.
    """
    name = orjson.dumps(flag)
    if key not in parsed:
        start = body.index(b"{") + 1
        data = orjson.dumps(key) + b":{" + name + b":true}"
        return Edit(start, start, data + b"," if parsed else data)
    start, end = value_spans(body, key)[-1]
    holder = parsed[key]
    if not isinstance(holder, dict):
        return Edit(start, end, b"{" + name + b":true}")
    if flag in holder:
        first, last = value_spans(body[start:end], flag)[-1]
        return Edit(start + first, start + last, b"true")
    return Edit(end - 1, end - 1, (b"," if holder else b"") + name + b":true")
