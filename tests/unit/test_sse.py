"""The framer gives the same events however the bytes were cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.sse import Framer

# What an event stream may be made of, line ends and half characters included.
pieces = st.sampled_from(
    [b"data:", b"data: ", b"data", b"x", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b": hi",
     b"event: e", b" ", "é".encode(), "日本".encode(), "😀".encode()[:2], b"id:1", b"\xef\xbb\xbf"]
)  # fmt: skip
streams = st.lists(pieces, max_size=40).map(b"".join)
MARK = "\ufeff".encode()


def feed(*chunks: bytes, max_event: int = 1 << 20) -> list[bytes]:
    framer = Framer(max_event)
    return [data for chunk in chunks for data in framer.feed(chunk)]


def by_the_standard(stream: bytes) -> list[bytes]:
    """WHATWG HTML, section 9.2.6, line by line: what the fast framer must equal."""
    normal = stream.removeprefix(MARK).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found, data = [], []
    for line in normal.split(b"\n")[:-1]:
        if not line:
            if data:
                found.append(b"\n".join(data))
            data = []
        elif line.startswith(b"data:"):
            value = line[5:]
            data.append(value[1:] if value.startswith(b" ") else value)
    return found


@given(streams, st.data())
def test_any_rechunking_gives_the_same_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert feed(*chunks) == feed(stream)
    assert feed(*(stream[i : i + 1] for i in range(len(stream)))) == feed(stream)


@given(streams)
def test_events_are_those_of_the_standard(stream: bytes) -> None:
    # a line that tells whether a CR at the end was one: the standard waits for it too
    stream += b"\n\n:"
    assert feed(stream) == by_the_standard(stream)


def test_a_byte_order_mark_before_the_first_event_is_none_of_it() -> None:
    stream = MARK + b"data: x\n\n"
    for cut in range(len(stream)):
        assert feed(stream[:cut], stream[cut:]) == [b"x"]
    assert feed(MARK[:2] + b"data: x\n\n" + stream) == []  # half of one, and one too late
    assert feed(b"data: x\n\n" + stream) == [b"x"]


def test_every_line_end_and_no_space_after_the_colon() -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        stream = b"data:one" + 2 * end + b"data: two" + 2 * end + b"data:  three" + 2 * end + b":"
        assert feed(stream) == [b"one", b"two", b" three"]


def test_data_lines_of_one_event_are_joined() -> None:
    assert feed(b"event: x\ndata: a\ndata:b\nid: 1\n\n") == [b"a\nb"]


def test_comments_and_events_without_data_are_nothing() -> None:
    assert feed(b": keep-alive\n\n", b":\n\n\n\n", b"event: ping\n\n", b"data: x\n\n") == [b"x"]


def test_a_character_cut_in_half_is_whole_again() -> None:
    event = "data: žluťoučký 😀\n\n".encode()
    for cut in range(len(event)):
        assert feed(event[:cut], event[cut:]) == [event[6:-2]]


def test_an_event_that_is_not_whole_is_not_given() -> None:
    assert feed(b"data: x\n") == []
    assert feed(b"data: x") == []


def test_an_oversize_event_is_let_go_whole_and_the_next_is_read() -> None:
    big = b"data: " + b"x" * 50
    # its second line looks like an event of its own: it must not be taken for one
    assert feed(big, b"\ndata: [DONE]", b"\n\ndata: next\n\n", max_event=40) == [b"next"]
    assert feed(big, b"y" * 100, b"z\n", b"\n", b"data: next\n\n", max_event=40) == [b"next"]
    assert feed(big, b"\r\n", b"\r\n", b"data: next\r\n\r\n", max_event=40) == [b"next"]


def test_an_oversize_event_does_not_stay_in_memory() -> None:
    framer = Framer(max_event=1000)
    for _ in range(100):
        framer.feed(b"x" * 500)
        assert len(framer._rest) <= 1000
