"""A head that is known is read as the parser would read it, and what differs is the parser's."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.listen.incoming import Bounds, Incoming
from sidecar.listen.known_head import KnownHead
from tests.faults.test_smuggling import NEXT, READ, REFUSED, UPGRADES

BOUNDS = Bounds(max_head=1 << 16, max_body=1 << 16, head_s=1.0, body_s=1.0, idle_s=1.0)
START = b"POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def request(body: bytes = b"{}", more: bytes = b"", name: bytes = b"Content-Length") -> bytes:
    return START + more + name + b": %d\r\nAuthorization: Bearer k\r\n\r\n" % len(body) + body


def told(incoming: Incoming) -> list[object]:
    """All that whoever answers may know of what was read."""
    found: list[object] = [
        (
            each.method, each.target, dict(each.head.said), dict(each.head.router),
            each.head.passed, each.http10, each.keep_alive, each.body, each.whole, each.admitted,
        )
        for each in incoming.requests
    ]  # fmt: skip
    fault = incoming.broken
    return [*found, (type(fault), str(fault)), incoming.begun, incoming.head is None]


def read(incoming: Incoming, pieces: list[bytes]) -> list[list[object]]:
    """What each piece came to, where what is whole is taken before the next one comes."""
    came = []
    for piece in pieces:
        incoming.feed(piece)
        came.append(told(incoming))
        if incoming.broken is not None:
            break
        incoming.requests.clear()
    return came


def read_both_ways(pieces: list[bytes]) -> list[list[object]]:
    """What the pieces came to, which is the same for who knows heads and who knows none."""
    came = read(Incoming(BOUNDS), pieces)
    with patch.object(KnownHead, "of", return_value=None):
        assert came == read(Incoming(BOUNDS), pieces)
    return came


def knows(incoming: Incoming, data: bytes) -> bool:
    """Whether ``data`` is read without the parser."""
    with patch.object(incoming, "_parser"):
        incoming.feed(data)
        return bool(incoming.requests)


def test_a_head_that_comes_again_is_not_parsed_and_its_body_may_be_of_another_length() -> None:
    incoming = Incoming(BOUNDS)
    incoming.feed(request())
    for body in (b"{}", b'{"a": 1}', b"x" * 1000, b"{}"):
        incoming.requests.clear()
        with patch.object(incoming, "_parser", None):  # it would fail if it were asked
            incoming.feed(request(body))
        (one,) = incoming.requests
        assert (one.body, one.head.said[b"content-length"]) == (body, b"%d" % len(body))
        assert one.target == b"/v1/chat/completions?a=b"
        assert one.head.passed.credentials == b"Authorization: Bearer k\r\n"


PARTS = st.sampled_from(
    [
        request(), request(b"[1]"), request(b""), request(b"x" * 300), request(b"y" * 70_000),
        request(more=b"x-router-session: s\r\n"), request(more=b"X-Note: 1\r\n"),
        request(more=b"Connection: close\r\n"), request(more=b"Connection: x-a\r\nX-A: 1\r\n"),
        request(more=b"Expect: 100-continue\r\n"), request(name=b"content-length"),
        request(name=b"CONTENT-LENGTH"), request() + request(), request()[:-1], request()[:40],
        request() + b"\r\n", b"\r\n" + request(), b"\r\n", b"}", b"", b"{}",
        START + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        START + b"Content-Length: 02\r\n\r\n{}", START + b"Content-Length: \t2 \r\n\r\n{}",
        START + b"X-A: b\r\n\r\n", b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
        request().replace(b"HTTP/1.1", b"HTTP/1.0"), request().replace(b": 2", b": 3"),
        request().replace(b": 2", b": 1"), request().replace(b": 2", b": +2"),
        request().replace(b"Host: x", b"Host: y"), request().replace(b"\r\n", b"\n"),
        request().replace(b"Host: x\r\n", b"Host: x\r\nContent-Length: 2\r\n"),
    ]
)  # fmt: skip


@given(st.lists(PARTS, min_size=2, max_size=8))
def test_what_is_known_is_read_as_the_parser_reads_it(pieces: list[bytes]) -> None:
    read_both_ways(pieces)


@given(
    st.lists(PARTS, min_size=1, max_size=6).map(b"".join),
    st.lists(st.integers(0, 2000), max_size=6),
)
def test_wherever_the_bytes_are_cut(sent: bytes, cuts: list[int]) -> None:
    edges = sorted({0, *(cut for cut in cuts if cut < len(sent)), len(sent)})
    read_both_ways([sent[a:b] for a, b in pairwise(edges)])


@pytest.mark.parametrize("name", [*REFUSED, *READ, *UPGRADES])
def test_a_trick_is_none_the_better_for_good_requests_before_it(name: str) -> None:
    trick = {**REFUSED, **READ, **UPGRADES}[name]
    good = [request(), request(), request(b"[1]")]
    came = read_both_ways([*good, trick + NEXT, *good])
    alone = Incoming(BOUNDS)
    alone.feed(trick + NEXT)
    assert came[3] == told(alone)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_head_is_never_known(name: str) -> None:
    incoming = Incoming(BOUNDS)
    incoming.feed(REFUSED[name])
    assert incoming.broken is not None
    assert not knows(incoming, REFUSED[name])


def test_a_connection_whose_heads_all_differ_stops_looking_for_them() -> None:
    incoming = Incoming(BOUNDS)
    for i in range(20):
        incoming.feed(request(more=b"traceparent: %d\r\n" % i))
        incoming.requests.clear()
    with patch.object(KnownHead, "of", side_effect=AssertionError("it looked")):
        incoming.feed(request(more=b"traceparent: 21\r\n"))
    assert len(incoming.requests) == 1
