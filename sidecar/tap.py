"""What the router learns from a copy of an answer as it passes.

The relay never waits for this and never changes a byte because of it. A tap
says when the first content came, whether the answer ended as it should, and
what the upstream counted.
"""

from __future__ import annotations

import zlib
from typing import Final

from sidecar.dialects.base import Dialect, Event
from sidecar.dialects.body import usage_at_end
from sidecar.known_event import KnownEvent
from sidecar.sse import Framer
from sidecar.types import Usage

_WHOLE_ANSWER: Final = 1 << 20  # of a longer unstreamed answer only the end is read
_TAIL: Final = 1 << 14  # bytes of it
_ENDS: Final = 8  # events of a stream, its first and those that end or count it, kept for spans
_SMALL: Final = 1 << 12  # bytes of an event that is worth keeping while its stream goes on
_ANY_HEADER: Final = 32 + zlib.MAX_WBITS  # zlib's own word for: gzip's or zlib's, by the bytes
_MOST_UNPACKED: Final = 1 << 22  # bytes, of one piece


class StreamTap:
    """Follows a server-sent event stream."""

    def __init__(self, dialect: Dialect, choices: int = 1) -> None:
        self._dialect = dialect
        self._framer = Framer()
        self._known = KnownEvent()
        self._choices = choices  # answers that come side by side, each with an end of its own
        self._finished: set[int] = set()  # which of them are whole
        self._last = b""  # the latest of the stream that was whole
        self.content = False  # something the app would show has come
        self.plain = False  # the latest piece was whole events, and none of them tells anything
        self._whole = False  # the dialect's own end has come
        self.error = False  # the upstream sent an error in band
        self._usage = Usage()
        self._answer_id = ""
        self._told: list[bytes] = []  # its first event, and those that end or count it

    @property
    def whole(self) -> bool:
        """Whether the dialect's own end has come; without the blank line after it, it counts
        as one where nothing follows."""
        if self._whole:
            return True
        rest = self._framer.rest()
        return rest is not None and self._ends(self._dialect.event(rest))

    def feed(self, chunk: bytes) -> None:
        dialect, framer = self._dialect, self._framer
        # Once content flows, only an event that could end the stream or count it is worth
        # reading, and whole events without such a one not even worth framing.
        self.plain = True
        if self.content and not framer.held:
            if self._known.again(chunk):
                self._last = chunk
                return
            if chunk.endswith(b"\n\n") and not dialect.tells(chunk):
                if self._last.endswith(b"\n\n"):  # else it was an event's data, and no piece
                    self._known.learn(self._last, chunk)
                self._last = chunk
                return
        self.plain = False
        events = framer.feed(chunk)
        if framer.large:
            self._glimpse()
        for data in events:
            self._last = data
            if self.content and not dialect.tells(data):
                continue
            event = dialect.event(data)
            told = self._told
            if event.finished or event.done or event.usage is not None:
                if len(told) == _ENDS:  # some count in every event: the first and the latest
                    del told[1]
                told.append(data)
            elif not told and len(data) < _SMALL:
                told.append(data)
            self.content = self.content or event.content
            self._whole = self._whole or self._ends(event)
            self._finished |= event.finished
            self.error = self.error or event.error
            if event.usage is not None:
                self._usage = _joined(self._usage, event.usage)
            self._answer_id = event.answer_id or self._answer_id

    def _glimpse(self) -> None:
        """Learn what can be learnt of events that were too large to be read."""
        ends, self._framer.large = self._framer.large, []
        for head, tail in ends:
            self._last = head + tail
            event = self._dialect.glimpse(head, tail)
            self.content = self.content or event.content
            self._whole = self._whole or event.done
            if event.usage is not None:
                self._usage = _joined(self._usage, event.usage)
            self._answer_id = event.answer_id or self._answer_id

    def _ends(self, event: Event) -> bool:
        """Whether ``event`` ends the answer, or the last choice of it that had no end yet."""
        if event.finished:
            return len(self._finished | event.finished) >= self._choices
        return event.done

    def last(self) -> bytes:
        """The latest bytes of the stream, at least those of the last event that came."""
        return self._last + (self._framer.rest() or b"")

    def usage(self) -> Usage:
        return self._usage

    def told(self) -> list[bytes]:
        """What of the answer says which model gave it and why it ended."""
        return self._told

    def answer_id(self) -> str:
        return self._answer_id


def _joined(before: Usage, after: Usage) -> Usage:
    """Counts that come in parts, each of all there was so far: the larger one.

    An end that says nothing of the question may say 0, or leave out what of it was cached.
    """
    return Usage(
        *(
            later if earlier is None or (later is not None and later > earlier) else earlier
            for earlier, later in zip(_counts(before), _counts(after), strict=True)
        )
    )


def _counts(usage: Usage) -> tuple[int | None, ...]:
    return (
        usage.input_tokens,
        usage.cached_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.written_tokens,
    )


class AnswerTap:
    """Keeps an unstreamed answer to read its usage at the end; of a large one, its end."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._chunks: list[bytes] = []
        self._tail = b""  # of an answer that is too large to be kept
        self._size = 0
        self.content = False
        self.whole = False
        self.error = False

    def feed(self, chunk: bytes) -> None:
        self.content = True
        self._size += len(chunk)
        if self._size <= _WHOLE_ANSWER:
            self._chunks.append(chunk)
        else:
            self._tail = b"".join((self._tail, *self._chunks, chunk))[-_TAIL:]
            self._chunks.clear()

    def usage(self) -> Usage:
        if self._tail:
            found = usage_at_end(self._tail)
            return Usage() if found is None else self._dialect.usage(found)
        return self._dialect.usage(b"".join(self._chunks)) if self._chunks else Usage()

    def told(self) -> list[bytes]:
        return [b"".join(self._chunks)] if self._chunks else []

    def answer_id(self) -> str:
        return self._dialect.answer_id(b"".join(self._chunks)) if self._chunks else ""


class BlindTap:
    """For what cannot be read as it passes. Its usage is unknown."""

    def __init__(self) -> None:
        self.content = False
        self.error = False

    @property
    def whole(self) -> bool:
        return True

    def feed(self, chunk: bytes) -> None:
        self.content = True

    def usage(self) -> Usage:
        return Usage()

    def told(self) -> list[bytes]:
        return []

    def answer_id(self) -> str:
        return ""


class UnpackingTap(BlindTap):
    """Reads an unpacked copy of a compressed answer, as far as that can be unpacked.

    What goes on is as blind to the relay as any compressed answer: an event of the
    sidecar's own could not be written into it.
    """

    def __init__(self, inner: StreamTap | AnswerTap) -> None:
        super().__init__()
        self._inner = inner
        self._unpack = zlib.decompressobj(_ANY_HEADER)
        self._lost = False  # the rest cannot be read

    def feed(self, chunk: bytes) -> None:
        self.content = True
        while chunk and not self._lost:
            try:
                plain = self._unpack.decompress(chunk, _MOST_UNPACKED)
            except zlib.error:
                self._lost = True
                break
            # a small piece that grows to more is no answer
            self._lost = bool(self._unpack.unconsumed_tail)
            self._inner.feed(plain)
            chunk = b""
            if self._unpack.eof:  # another member may follow
                chunk = self._unpack.unused_data
                self._unpack = zlib.decompressobj(_ANY_HEADER)

    @property
    def whole(self) -> bool:
        return self._lost or not isinstance(self._inner, StreamTap) or self._inner.whole

    def usage(self) -> Usage:
        return self._inner.usage()

    def told(self) -> list[bytes]:
        return self._inner.told()

    def answer_id(self) -> str:
        return self._inner.answer_id()


Tap = StreamTap | AnswerTap | BlindTap
