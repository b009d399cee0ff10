"""An answer's head that comes again: what was read of a connection's last one, not read anew.

A model server writes the same head before every answer but for the body's length, at least
within a second, where it says the date. To parse it and to sort its headers takes as long as
all else that an unstreamed answer does. So a head that came whole with its whole body is
remembered, and bytes that begin with the very same ones are taken for what they were taken
for before. Whatever differs in anything but the digits of ``Content-Length``, or comes in
parts, or with a byte more than its body, is the parser's. The caller's side has the same of
requests: :mod:`sidecar.listen.known_head`.
"""

from __future__ import annotations

import re
from typing import Final

from sidecar.beside import Alike

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})(?=[ \t]*\r\n)", re.IGNORECASE)
_END: Final = b"\r\n\r\n"
_LENGTH_NAME: Final = b"content-length"
_DIGITS: Final = 9
# What makes of a head more than a head: it framed the body another way.
_SPECIAL: Final = frozenset({b"transfer-encoding", b"upgrade"})
_NO_BODY: Final = frozenset({204, 304})


class KnownAnswer(Alike):
    """One head, and what it said. Whoever has the same one may take the same of it."""

    __slots__ = ("_after", "_before", "_place", "headers", "reason", "status")

    def __init__(
        self,
        status: int,
        reason: str,
        headers: list[tuple[bytes, bytes]],
        place: int,
        *,
        before: bytes,
        after: bytes,
    ) -> None:
        super().__init__()
        self.status, self.reason, self.headers = status, reason, headers
        self._place = place  # of Content-Length among them
        self._before, self._after = before, after

    @classmethod
    def of(
        cls, data: bytes, status: int, reason: str, headers: list[tuple[bytes, bytes]]
    ) -> KnownAnswer | None:
        """The head that ``data`` begins with, where ``data`` is one answer, and all of it.

        None where it is not one to be known again.
        """
        at = data.find(_END) + len(_END)
        names = [name.lower() for name, _ in headers]
        if names.count(_LENGTH_NAME) != 1 or not _SPECIAL.isdisjoint(names) or status in _NO_BODY:
            return None
        found = _LENGTH.findall(data, 0, at)
        place = names.index(_LENGTH_NAME)
        if len(found) != 1 or headers[place][1] != found[0] or int(found[0]) != len(data) - at:
            return None
        match = _LENGTH.search(data, 0, at)
        assert match is not None
        start, end = match.span(1)
        return cls(status, reason, headers, place, before=data[:start], after=data[end:at])

    def again(self, data: bytes) -> bytes | None:
        """The body of ``data``, where that is this head, a body, and nothing else.

        What :attr:`headers` says of its length is then this one's.
        """
        before, after = self._before, self._after
        if not data.startswith(before):
            return None
        start = len(before)
        end = data.find(after, start, start + _DIGITS + len(after))
        if end < 0:
            return None
        digits = data[start:end]
        body = data[end + len(after) :]
        if not digits.isdigit() or int(digits) != len(body):
            return None
        name, was = self.headers[self._place]
        if was != digits:  # anew, for the last answer's are its own
            self.headers = list(self.headers)
            self.headers[self._place] = name, digits
        return body
