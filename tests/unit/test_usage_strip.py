"""The count the router asked for is taken out again, and nothing else is."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from sidecar.dialects import DIALECTS
from sidecar.dialects.body import edited
from sidecar.sse import UsageStrip
from sidecar.tap import StreamTap

TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"caf\xc3\xa9"}}],"usage":null}\n\n'
FILTER = b'data: {"choices":[],"prompt_filter_results":[{}]}\n\n'
COUNT = b'data: {"id":"c","choices": [ ],"usage" : {"prompt_tokens":3,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
ECHO = b'data: {"choices":[{"delta":{"content":"\\"choices\\":[] \\"usage\\":{"}}]}\n\n'


def strip(stream: bytes, cuts: list[int]) -> bytes:
    one = UsageStrip()
    out, at = b"", 0
    for cut in [*sorted({c % (len(stream) + 1) for c in cuts}), len(stream)]:
        out += one.feed(stream[at:cut])
        at = cut
    return out + one.rest()


@given(st.lists(st.integers(0, 10_000)))
def test_only_the_count_is_taken_out_however_the_stream_is_cut(cuts: list[int]) -> None:
    stream = FILTER + TOKEN + ECHO + TOKEN + COUNT + DONE
    assert strip(stream, cuts) == FILTER + TOKEN + ECHO + TOKEN + DONE


@given(st.lists(st.integers(0, 10_000)))
def test_a_stream_with_carriage_returns_is_stripped_too(cuts: list[int]) -> None:
    stream = (TOKEN + COUNT + DONE).replace(b"\n", b"\r\n")
    assert strip(stream, cuts) == (TOKEN + DONE).replace(b"\n", b"\r\n")


@given(st.lists(st.integers(0, 10_000)))
def test_a_byte_order_mark_hides_no_count_and_stays(cuts: list[int]) -> None:
    mark = b"\xef\xbb\xbf"
    assert strip(mark + COUNT + TOKEN + DONE, cuts) == mark + TOKEN + DONE
    assert strip(TOKEN + mark + COUNT + DONE, cuts) == TOKEN + mark + COUNT + DONE  # no event
    assert strip(mark[:2], cuts) == mark[:2]


@given(st.binary(max_size=300), st.lists(st.integers(0, 400)))
def test_what_has_no_count_passes_byte_for_byte(stream: bytes, cuts: list[int]) -> None:
    assert strip(stream, cuts) == stream


@given(
    st.lists(st.sampled_from([TOKEN, ECHO, COUNT, FILTER, DONE, b": ping\n\n", b"\xef\xbb\xbf"])),
    st.lists(st.integers(0, 10_000)),
)
def test_what_the_tap_has_looked_at_need_not_be_looked_through_again(
    events: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(events)
    tap, one, out, at = StreamTap(DIALECTS["chat"]), UsageStrip(), b"", 0
    # whole events and parts of them, as they come
    ends = {sum(map(len, events[:n])) for n in range(len(events))}
    for cut in [*sorted(ends | {c % (len(stream) + 1) for c in cuts}), len(stream)]:
        piece, at = stream[at:cut], cut
        tap.feed(piece)
        out += piece if tap.plain and one.idle else one.feed(piece)
    assert out + one.rest() == strip(stream, cuts)


def test_an_event_of_any_size_passes() -> None:
    big = b'data: {"choices":[{"delta":{"content":"' + b"x" * 300_000 + b'"}}]}\n\n'
    assert strip(big + COUNT + DONE, list(range(0, 300_000, 997))) == big + DONE


def edit(body: bytes) -> bytes:
    found = DIALECTS["chat"].usage_edit(body, orjson.loads(body))
    return body if found is None else edited(body, (found,))


def test_a_stream_is_asked_to_count_and_no_other_byte_changes() -> None:
    body = b'{ "model":"auto" , "stream" : true,"messages":[] }'
    asked = edit(body)
    assert orjson.loads(asked)["stream_options"] == {"include_usage": True}
    assert asked.replace(b'"stream_options":{"include_usage":true},', b"") == body


def test_options_that_are_there_are_kept() -> None:
    body = b'{"stream_options": {"include_obfuscation":false} , "stream":true}'
    assert edit(body) == (
        b'{"stream_options": {"include_obfuscation":false,"include_usage":true} , "stream":true}'
    )
    assert orjson.loads(edit(b'{"stream":true,"stream_options":null}'))["stream_options"] == {
        "include_usage": True
    }


def test_an_app_that_asked_and_one_that_does_not_stream_are_left_alone() -> None:
    for body in (
        b'{"stream":true,"stream_options":{"include_usage":true}}',
        b'{"stream":false}',
        b"{}",
    ):
        assert edit(body) == body
