"""Incremental framing of server-sent events.

The relay copies bytes as they come; this reads a copy of them. It survives any
re-chunking: an event cut anywhere, a CR in one read and its LF in the next,
``data:`` with and without a space, several data lines in an event, comments.
The framing is that of the WHATWG HTML standard, section 9.2.
"""

from __future__ import annotations

import re
from typing import Final

import orjson

_BLANK: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r|\r\n\n|\n\r\n|\r\n\r|\n\r")
_NO_CHOICES: Final = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_LF: Final = 0x0A  # as numbers: for bytes, `in` takes five times as long
_CR: Final = 0x0D
_HELD: Final = 1 << 16
_LINE: Final = re.compile(rb"\r\n|\n|\r")
_MARK: Final = b"\xef\xbb\xbf"  # UTF-8's byte order mark: one may stand before the first event
_ENDS: Final = 1 << 14  # bytes of either end of an event that is too large, kept of it


class UsageStrip:
    """Takes the one event out of a stream that the app did not ask for.

    ``stream_options.include_usage`` makes an upstream send a last event whose
    ``choices`` is empty and whose ``usage`` is not. Feed it what comes; it gives
    what goes on, whole events at a time, byte for byte but for that event.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False

    @property
    def idle(self) -> bool:
        """Whether it holds nothing back: then whole events without a count go on as they came."""
        return self._begun and not self._rest

    def feed(self, chunk: bytes) -> bytes:
        text = self._rest + chunk if self._rest else chunk
        if not self._begun:
            if _may_be_mark(text):
                self._rest = text
                return b""
            self._begun = True
            if text.startswith(_MARK):
                self._rest = b""
                return _MARK + self.feed(text[len(_MARK) :])
        if text.endswith(b"\n\n") and (text.find(b'"usage"') < 0 or not _NO_CHOICES.search(text)):
            self._rest = b""  # whole events, and none of them is it: nearly every chunk
            return text
        # a CR at the very end may be half of a line's end: the next chunk tells
        whole = len(text) - text.endswith(b"\r")
        ends = [match.end() for match in _BLANK.finditer(text, 0, whole)]
        kept: list[bytes] = []
        at = 0
        for end in ends:
            event = text[at:end]
            if not _NO_CHOICES.search(event) or not _is_count(event):
                kept.append(event)
            elif blank := len(event) - len(event.lstrip(b"\r\n")):
                kept.append(event[:blank])  # as if the event before had taken them along
            at = end
        self._rest = text[at:]
        if len(self._rest) > _HELD:  # far too long for the event that is looked for
            kept.append(self._rest)
            self._rest = b""
        return b"".join(kept)

    def rest(self) -> bytes:
        """What is left of a stream that ended without a blank line."""
        rest, self._rest = self._rest, b""
        return rest


def _is_count(event: bytes) -> bool:
    """Whether an event is a count and nothing else: no choices, and a usage."""
    try:
        said = orjson.loads(_data(event) or b"")
    except orjson.JSONDecodeError:
        return False
    return (
        isinstance(said, dict) and said.get("choices") == [] and isinstance(said.get("usage"), dict)
    )


class Framer:
    """Feed it chunks; it gives the data of each event that became whole.

    An event larger than ``max_event`` bytes is not held: the tap may not grow without
    bound. Of such a one ``large`` gets the two ends, as they came, when it is over.
    """

    def __init__(self, max_event: int = 1 << 20) -> None:
        self._max = max_event
        self._rest = b""
        self._begun = False
        self._skipping = False  # the rest of an event that was too large
        self._head = b""  # of that event
        self.large: list[tuple[bytes, bytes]] = []

    @property
    def held(self) -> bool:
        """Whether it is within an event."""
        return bool(self._rest) or self._skipping

    def rest(self) -> bytes | None:
        """The data of what has come of an event that is not whole yet."""
        return None if self._skipping else _data(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that ``chunk`` completes, in order."""
        text = self._rest + chunk if self._rest else chunk
        if not self._begun:
            if _may_be_mark(text):
                self._rest = text
                return []
            self._begun = True
            text = text.removeprefix(_MARK)
        # Whether a CR at the very end stands alone or opens a CR LF shows in
        # the next chunk: keep it back.
        held = b""
        if text.endswith(b"\r"):
            text, held = text[:-1], b"\r"
        if _CR not in text:  # what nearly every upstream sends
            *whole, rest = text.split(b"\n\n")
        else:
            *whole, rest = _BLANK.split(text)
        if self._skipping and whole:
            self.large.append((self._head, whole.pop(0)[-_ENDS:]))
            self._skipping = False
        self._rest = rest + held
        if len(self._rest) > self._max:
            if not self._skipping:
                self._head, self._skipping = self._rest[:_ENDS], True
            # a line end at the cut may be half of the blank line that ends it
            self._rest = self._rest[-min(self._max, _ENDS) :]
        return [data for event in whole if (data := _data(event)) is not None]


def _may_be_mark(text: bytes) -> bool:
    """Whether a stream's first bytes are too few to tell if they are a byte order mark."""
    return len(text) < len(_MARK) and _MARK.startswith(text)


def _data(event: bytes) -> bytes | None:
    """The data lines of one event, joined; None where it has none (a comment)."""
    if event.startswith(b"data: ") and _LF not in event and _CR not in event:
        return event[6:]
    lines = []
    for line in _LINE.split(event):
        if line.startswith(b"data:"):
            value = line[5:]
            lines.append(value[1:] if value.startswith(b" ") else value)
    return b"\n".join(lines) if lines else None
