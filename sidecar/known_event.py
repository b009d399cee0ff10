"""An event that comes again with another text: what was found of it is not looked for anew.

Most upstreams write every piece of a stream alike but for the few characters that it adds to
the answer, and to look through each piece for what ends or counts a stream is a quarter of
what relaying it costs. So what two pieces of a stream without such a thing have alike is
remembered, up to a quote and from a quote on, and a piece that differs from them only between
those two, by characters among which is no quote, escape or line's end, holds no key, no event
and no value of a string that those did not hold. Whatever differs elsewhere is looked through.
"""

from __future__ import annotations

import re
from typing import Final

_WITHIN: Final = re.compile(rb'[^"\\\r\n]*')
_SHORT: Final = 32  # bytes of text
_QUOTE: Final = 0x22
_BACKSLASH: Final = 0x5C
_LF: Final = 0x0A
_CR: Final = 0x0D
_TRIES: Final = 3  # a stream; one whose pieces differ in two places is never known


class KnownEvent:
    """What the pieces of one stream have alike."""

    __slots__ = ("_after", "_before", "_tries")

    def __init__(self) -> None:
        self._before = self._after = b""
        self._tries = 0

    def again(self, piece: bytes) -> bool:
        """Whether ``piece`` is one that was learnt, but for its text."""
        before, after = self._before, self._after
        start, end = len(before), len(piece) - len(after)
        if not start or end < start or piece[:start] != before or piece[end:] != after:
            return False
        if end - start > _SHORT:
            return _WITHIN.fullmatch(piece, start, end) is not None
        for at in range(start, end):  # a token or two: less than a call, where it is compiled
            byte = piece[at]
            if byte in (_QUOTE, _BACKSLASH, _LF, _CR):
                return False
        return True

    def learn(self, one: bytes, other: bytes) -> None:
        """Note two pieces that follow each other, end their events, and hold nothing that is
        looked for."""
        if one == other:  # which part of it is text is not known yet
            self._before, self._after = other[:-2], other[-2:]
            return
        if self._tries == _TRIES:
            return
        self._tries += 1
        most = min(len(one), len(other))
        start = end = 0
        while start < most and one[start] == other[start]:
            start += 1
        while end < most - start and one[-1 - end] == other[-1 - end]:
            end += 1
        start = other.rfind(b'"', 0, start) + 1
        last = other.find(b'"', len(other) - end)
        self._before, self._after = (
            (other[:start], other[last:]) if last >= start > 0 else (b"", b"")
        )
        if not (self.again(one) and self.again(other)):
            self._before = b""
