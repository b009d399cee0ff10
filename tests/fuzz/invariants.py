"""What must hold for any bytes at all: the promises that the fuzzers hunt for a breach of.

Each check takes one input as a fuzzer makes it and raises AssertionError, or
whatever the code under test lets out, where a promise is broken. They need no
fuzzer: the corpus is replayed by ``test_corpus.py``, and a failing input is
debugged by calling the check with its bytes.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from sidecar import headers
from sidecar.dialects import DIALECTS
from sidecar.dialects.base import Dialect
from sidecar.dialects.body import edited
from sidecar.errors import RequestError
from sidecar.features import features_of
from sidecar.parse import Received, parse
from sidecar.sse import Framer, UsageStrip
from sidecar.tap import AnswerTap, StreamTap, UnpackingTap
from sidecar.types import Edit

SPOKEN = tuple(DIALECTS.values())
UPSTREAM_MODEL = 'up/"model"'


def check_parse(data: bytes) -> None:
    """A body is refused with a sentence, or goes up with nothing changed that was not asked for.

    The first byte chooses the dialect; the rest is the body.
    """
    if not data:
        return
    dialect, body = SPOKEN[data[0] % len(SPOKEN)], data[1:]
    fields = ((b"Content-Type", b"application/json"),)
    try:
        call = parse(Received("req_fuzz", dialect, headers.read(fields), body))
    except RequestError as fault:
        _told(dialect, fault)
        return
    features_of(call.prompt).window.encode()  # the tokenizer takes no half characters
    assert call.input_tokens >= 0
    edits = [Edit(*call.model_span, orjson.dumps(UPSTREAM_MODEL))]
    with _deep():
        before = _pairs(body)
        _same(before, _pairs(edited(body, edits)), counted=False)
        if call.usage_edit is not None:
            assert call.stream
            after = _pairs(edited(body, [*edits, call.usage_edit]))
            _same(before, after, counted=True)


def _told(dialect: Dialect, fault: RequestError) -> None:
    """A refusal is the caller's fault, and an error body can be made of it."""
    assert 400 <= fault.status < 500
    assert orjson.loads(dialect.error(fault, "req_fuzz"))


@contextmanager
def _deep() -> Iterator[None]:
    """Room for the other parser and the comparison: they recurse, what is tested may not."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(usual)


Pairs = list[tuple[str, Any]]


def _pairs(body: bytes) -> Pairs:
    """The body by another parser, every key kept however often it comes, numbers as written."""
    value: Pairs = json.loads(
        body.decode(), object_pairs_hook=_Object, parse_int=str, parse_float=str
    )
    assert isinstance(value, _Object)
    return value


class _Object(list):  # type: ignore[type-arg]
    """An object's pairs: a list that is no array."""


def _same(before: Pairs, after: Pairs, *, counted: bool) -> None:
    """The model was replaced, the count asked for if ``counted``, and all else left alone."""
    touched = {"model", "stream_options"} if counted else {"model"}
    assert [p for p in after if p[0] not in touched] == [p for p in before if p[0] not in touched]
    assert [v for k, v in after if k == "model"] == [UPSTREAM_MODEL]
    if counted:
        options = [v for k, v in after if k == "stream_options"]
        assert dict(options[-1])["include_usage"] is True
        given = [v for k, v in before if k == "stream_options"] or [None]
        assert options[:-1] == given[:-1]
        kept = [(k, v) for k, v in given[-1] or () if k != "include_usage"]
        assert [(k, v) for k, v in options[-1] if k != "include_usage"] == kept


def check_framer(data: bytes) -> None:
    """However a stream is cut, its events are the standard's, and only a count is taken out.

    The first eight bytes say where to cut, the first of all whose stream it is; the
    rest is the stream.
    """
    cuts, stream = data[:8], data[8:]
    chunks = _cut(stream, cuts)
    # a line that tells whether a CR at the end was one: the standard waits for it too
    events = _all(Framer().feed, [*chunks, b"\n\n:"])
    assert events == _standard(stream + b"\n\n:"), "events"
    at = sum(cuts) % (len(stream) + 1)  # a stretch of it byte by byte
    single = [stream[:at], *(stream[i : i + 1] for i in range(at, at + 16)), stream[at + 16 :]]
    assert _all(Framer().feed, [*single, b"\n\n:"]) == events, "events byte by byte"

    whole = _strip([stream])
    assert _strip(chunks) == whole, "strip"
    assert _strip(single) == whole, "strip byte by byte"
    kept = [event for event in events if not _is_count(event)]
    assert _all(Framer().feed, [whole, b"\n\n:"])[: len(kept)] == kept, "nothing else is taken"

    dialect = SPOKEN[(data[0] if data else 0) % len(SPOKEN)]
    tap = StreamTap(dialect)
    for chunk in chunks:
        tap.feed(chunk)
    answer = AnswerTap(dialect)
    answer.feed(stream)
    packed = UnpackingTap(StreamTap(dialect))
    for chunk in _cut(gzip.compress(stream, 1, mtime=0), cuts):
        packed.feed(chunk)
    if tap.content == packed._inner.content:  # else the one has read more of it than the other
        assert packed.whole in {True, tap.whole}, "packed"
    UnpackingTap(StreamTap(dialect)).feed(stream)  # not packed at all
    for usage in (tap.usage(), answer.usage(), packed.usage()):
        counts = (usage.input_tokens, usage.cached_tokens, usage.output_tokens)
        assert all(count is None or count >= 0 for count in counts)

    small = Framer(max_event=16)
    for chunk in chunks:
        small.feed(chunk)
        assert len(small._rest) <= 17, "bounded"


def _cut(stream: bytes, cuts: bytes) -> list[bytes]:
    at = sorted({cut * (len(stream) + 1) // 256 for cut in cuts})
    return [stream[a:b] for a, b in zip([0, *at], [*at, len(stream)], strict=True)]


def _all(feed: Callable[[bytes], list[bytes]], chunks: list[bytes]) -> list[bytes]:
    return [each for chunk in chunks for each in feed(chunk)]


def _strip(chunks: list[bytes]) -> bytes:
    strip = UsageStrip()
    return b"".join([*map(strip.feed, chunks), strip.rest()])


def _standard(stream: bytes) -> list[bytes]:
    """WHATWG HTML, section 9.2.6, line by line."""
    found, data = [], []
    for line in (
        stream.removeprefix(b"\xef\xbb\xbf")
        .replace(b"\r\n", b"\n")
        .replace(b"\r", b"\n")
        .split(b"\n")[:-1]
    ):
        if not line and data:
            found.append(b"\n".join(data))
            data = []
        elif line.startswith(b"data:"):
            data.append(line[6:] if line[5:6] == b" " else line[5:])
    return found


def _is_count(event: bytes) -> bool:
    """Whether it is the one event that the router asked for itself."""
    try:
        said = orjson.loads(event)
    except orjson.JSONDecodeError:
        return False
    return (
        isinstance(said, dict) and said.get("choices") == [] and isinstance(said.get("usage"), dict)
    )
