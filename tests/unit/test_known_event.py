"""A piece of a stream that is known again holds nothing that a look at it would find."""

from __future__ import annotations

import pytest

from sidecar.dialects import DIALECTS
from sidecar.known_event import KnownEvent
from sidecar.tap import StreamTap

HEAD = b'data: {"id":"c-1","created":17,"choices":[{"index":0,"delta":{"content":"'
TAIL = b'"},"finish_reason":null}]}\n\n'


def piece(text: bytes) -> bytes:
    return HEAD + text + TAIL


def taught() -> KnownEvent:
    known = KnownEvent()
    known.learn(piece(b"Hello"), piece(b"Help"))
    return known


def test_another_text_is_the_same_event() -> None:
    known = taught()
    for text in (b"", b" ", b"a", b"H", b"Hel", "\u00e9\u4e2d".encode(), b"{[,:]}", b"[DONE]"):
        assert known.again(piece(text))


@pytest.mark.parametrize(
    "other",
    [
        piece(b"a").replace(b"null", b'"stop"'),
        piece(b"a").replace(b"}]}", b'}],"usage":{}}'),
        piece(b'a","usage":{"prompt_tokens":1},"x":"'),
        piece(b'a\\"'),
        piece(b"a\\"),
        piece(b"a\n\ndata: [DONE]\n\n"),
        piece(b"a\rb"),
        piece(b"a") + b"data: [DONE]\n\n",
        piece(b"a")[:-1],
        b": ping\n\n" + piece(b"a"),
        b"data: [DONE]\n\n",
        HEAD[:-1] + TAIL,
        b"",
    ],
)
def test_what_differs_elsewhere_is_looked_at(other: bytes) -> None:
    assert not taught().again(other)


def test_of_two_that_are_alike_only_the_same_is_known_until_another_comes() -> None:
    known = KnownEvent()
    known.learn(piece(b"ha"), piece(b"ha"))
    assert known.again(piece(b"ha"))
    assert not known.again(piece(b"he"))
    assert not known.again(piece(b"ha") + b"data: [DONE]")
    assert not known.again(piece(b"ha") + b"data: [DONE]\n\n")
    known.learn(piece(b"ha"), piece(b"he"))
    assert known.again(piece(b"other"))


def test_pieces_that_differ_in_two_places_are_never_known() -> None:
    known = KnownEvent()
    for number in range(5):
        one = piece(b"a%d" % number).replace(b"17", b"%d" % number)
        other = piece(b"b%d" % number).replace(b"17", b"%d" % (number + 1))
        known.learn(one, other)
        assert not known.again(one)
        assert not known.again(other)


def test_a_stream_of_known_pieces_is_read_as_any_other() -> None:
    texts = [b"a", b"b", b'"', b"\\n", b"usage", b"[DONE]", b"c"]
    last = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    counted = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":7}}\n\n'
    tap = StreamTap(DIALECTS["chat"])
    for one in [*map(piece, texts), last, counted]:
        tap.feed(one)
        assert tap.whole == (one in (last, counted))
        assert tap.last().strip().endswith(one.strip().removeprefix(b"data: "))
    assert (tap.usage().input_tokens, tap.usage().output_tokens) == (3, 7)
