"""A known answer's head is read as the parser would read it; what differs is the parser's."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import headers
from sidecar.errors import UpstreamBroken
from sidecar.upstream.connection import Connection
from sidecar.upstream.known_answer import KnownAnswer

START = b"HTTP/1.1 200 OK\r\nServer: uvicorn\r\nContent-Type: application/json\r\n"


def answer(body: bytes = b"{}", more: bytes = b"", start: bytes = START) -> bytes:
    return start + b"content-length: %d\r\n" % len(body) + more + b"\r\n" + body


class Wire(asyncio.Transport):
    """A transport that nobody is behind: what is written is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = False

    def write(self, data: object) -> None:
        pass

    def is_closing(self) -> bool:
        return self.cut

    def abort(self) -> None:
        self.cut = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def asked(connection: Connection, pieces: list[bytes]) -> list[object]:
    """All that whoever asked may know of what came in ``pieces``."""
    asking = asyncio.ensure_future(connection.exchange(b"POST", b""))
    await asyncio.sleep(0)
    for piece in pieces:
        connection.data_received(piece)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if not asking.done():  # no head yet
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        return ["waits", connection.heard]
    fault = asking.exception()
    if fault is not None:
        assert isinstance(fault, UpstreamBroken)
        return ["broken", str(fault)]
    return [
        connection.status, connection.reason, list(connection.headers), connection.complete,
        connection.rest(), connection.reusable,
    ]  # fmt: skip


async def read(answers: list[list[bytes]]) -> list[list[object]]:
    connection = Connection(lambda _: None)
    connection.connection_made(Wire())
    came = []
    for pieces in answers:
        came.append(await asked(connection, pieces))
        if not connection.reusable:
            break
    return came


def read_both_ways(answers: list[list[bytes]]) -> list[list[object]]:
    """What the answers came to, which is the same for who knows heads and who knows none."""
    came = asyncio.run(read(answers))
    with patch.object(KnownAnswer, "of", return_value=None):
        assert came == asyncio.run(read(answers))
    return came


async def test_a_head_that_comes_again_is_not_parsed_and_its_body_may_be_of_another_length() -> (
    None
):
    connection = Connection(lambda _: None)
    connection.connection_made(Wire())
    first = await asked(connection, [answer()])
    alike = []
    for body in (b"{}", b'{"a": 1}', b"", b"x" * 1000):
        with patch.object(connection, "_parser", None):  # it would fail if it were asked
            came = await asked(connection, [answer(body)])
        assert came == [*first[:2], [*first[2][:-1], (b"content-length", b"%d" % len(body))],  # type: ignore[index]
                        True, body, True]  # fmt: skip
        alike.append(connection.alike)
    assert len(set(map(id, alike))) == 1
    lines = headers.down(connection.headers, alike[0]).lines
    assert lines == headers.down(connection.headers).lines
    assert lines == headers.down(connection.headers, alike[0]).lines


PARTS = st.sampled_from(
    [
        [answer()], [answer(b"[1]")], [answer(b"")], [answer(b"y" * 70_000)],
        [answer(more=b"x-request-id: r\r\n")], [answer(more=b"Connection: close\r\n")],
        [answer(more=b"Connection: keep-alive\r\n")], [answer() + b"x"], [answer(), b"x"],
        [answer() + answer()], [answer()[:-1]], [answer()[:30], answer()[30:]],
        [answer(b"{}")[:-2], b"{}"], [answer(b"z")[:-1] + b"zz"],
        [answer(more=b"Content-Length: 2\r\n")], [answer(more=b"Transfer-Encoding: chunked\r\n")],
        [START + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"],
        [START + b"content-length: +2\r\n\r\n{}"], [START + b"content-length: 02\r\n\r\n{}"],
        [START + b"content-length: 2 \r\n\r\n{}"], [START + b"content-length: \r\n\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + answer()], [b"HTTP/1.1 204 No Content\r\n\r\n"],
        [answer(start=START.replace(b"200 OK", b"429 Slow Down"))], [b"garbage\r\n\r\n"],
        [answer(start=START.replace(b"1.1", b"1.0"))], [START + b"\r\n{}"],
    ]
)  # fmt: skip


@given(st.lists(PARTS, min_size=1, max_size=5), st.booleans())
def test_what_is_known_is_read_as_if_it_were_not(answers: list[list[bytes]], first: bool) -> None:
    read_both_ways([[answer(b"{1}")], *answers] if first else answers)


@pytest.mark.parametrize("other", [b"x-request-id: 1\r\n", b"date: now\r\n"])
def test_heads_that_keep_differing_are_not_looked_for_any_more(other: bytes) -> None:
    answers = [[answer(more=other + b"n: %d\r\n" % n)] for n in range(20)]
    with patch.object(KnownAnswer, "of", side_effect=KnownAnswer.of) as looked:
        asyncio.run(read(answers))
    assert looked.call_count == 8
