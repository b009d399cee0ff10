"""A head that comes again: what was read of a connection's last request, not read anew.

An app's client sends every request of a connection with the same head but for the length of
its body, and reading a head costs as much as reading a body does. So a head that came whole
with its body is remembered, and bytes that begin with the very same ones are taken for what
they were taken for before. Whatever differs in anything but the digits of
``Content-Length``, or comes in parts, or with a byte more than its body, is the parser's.
"""

from __future__ import annotations

import re
from typing import Final

from sidecar.headers import RequestHead
from sidecar.listen.request import Request

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})(?=[ \t]*\r\n)", re.IGNORECASE)
_END: Final = b"\r\n\r\n"
_LENGTH_NAME: Final = b"content-length"
_DIGITS: Final = 9
# What makes of a head more than a head: it was answered, or framed the body another way.
_SPECIAL: Final = frozenset({b"expect", b"transfer-encoding", b"upgrade"})


class KnownHead:
    """One head, and the request that it made."""

    __slots__ = ("_after", "_before", "_digits", "_head", "_method", "_most", "_target")

    def __init__(
        self, request: Request, before: bytes, digits: bytes, after: bytes, most: int
    ) -> None:
        self._method, self._target, self._head = request.method, request.target, request.head
        self._before, self._digits, self._after = before, digits, after
        self._most = most  # bytes of a body

    @classmethod
    def of(cls, data: bytes, request: Request, most: int) -> KnownHead | None:
        """The head that ``data`` begins with, where ``data`` is ``request``, and all of it.

        None where it is not one to be known again. ``most`` bounds a body, in bytes.
        """
        at = data.find(_END) + len(_END)
        said = request.head.said
        if (
            not request.keep_alive
            or request.http10
            or data[at:] != request.body
            or not _SPECIAL.isdisjoint(said)
        ):
            return None
        found = _LENGTH.findall(data, 0, at)
        if len(found) != 1 or said.get(_LENGTH_NAME) != found[0]:
            return None
        match = _LENGTH.search(data, 0, at)
        assert match is not None
        start, end = match.span(1)
        return cls(request, data[:start], found[0], data[end:at], most)

    def again(self, data: bytes) -> Request | None:
        """The request that ``data`` is, where that is this head, a body, and nothing else."""
        before, after = self._before, self._after
        if not data.startswith(before):
            return None
        start = len(before)
        end = data.find(after, start, start + _DIGITS + len(after))
        digits = data[start:end]
        if end < 0 or not digits.isdigit():
            return None
        body = data[end + len(after) :]
        size = int(digits)
        if len(body) != size or size > self._most:
            return None
        head = self._head
        if digits != self._digits:
            said = {**head.said, _LENGTH_NAME: digits}
            head = RequestHead(said, head.router, head.passed, head.size)
            self._head, self._digits = head, digits
        request = Request(self._method, self._target, head)
        request.body = body
        request.whole = True
        return request
