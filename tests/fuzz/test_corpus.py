"""What the fuzzers found worth keeping, replayed without them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from sidecar.dialects import DIALECTS
from tests.fuzz.invariants import (
    UPSTREAM_MODEL,
    _pairs,
    _same,
    check_framer,
    check_parse,
)

CORPUS = Path(__file__).parent / "corpus"
CHAT, RESPONSES, MESSAGES = b"\x00", b"\x02", b"\x04"
HI = b'"messages":[{"role":"user","content":"hi"}]'


@pytest.mark.parametrize(("kind", "check"), [("parse", check_parse), ("framer", check_framer)])
def test_every_kept_input_keeps_every_promise(kind: str, check: Callable[[bytes], None]) -> None:
    inputs = sorted((CORPUS / kind).iterdir())
    assert len(inputs) >= 50
    for each in inputs:
        try:
            check(each.read_bytes())
        except Exception as exc:
            raise AssertionError(f"{kind}/{each.name}: {exc!r}") from exc


def test_the_kept_inputs_reach_every_dialect_and_are_small() -> None:
    files = list((CORPUS / "parse").iterdir())
    assert {file.read_bytes()[0] % len(DIALECTS) for file in files} == set(range(len(DIALECTS)))
    assert sum(file.stat().st_size for file in CORPUS.rglob("*") if file.is_file()) < 200_000


# Each of these once got past: a 500, a re-encoded field, or a count that was none.
FOUND = {
    "half a character beside the count": CHAT
    + b'{"stream":true,"stream_options":{"x":"\\ud800"},"model":"a",'
    + HI
    + b"}",
    "a number beyond 64 bits beside the count": CHAT
    + b'{"x":"\\ud800","stream":true,"stream_options":{"n":1'
    + b"0" * 30
    + b'},"model":"a",'
    + HI
    + b"}",
    "a number beyond a float's digits beside the count": CHAT
    + b'{"stream":true,"stream_options":{"n":1.00000000000000000001},"model":"a",'
    + HI
    + b"}",
    "an output_config that is a list": MESSAGES + b'{"model":"a","output_config":[1],' + HI + b"}",
    "a tool's result of a type that is a list": MESSAGES
    + b'{"model":"a","messages":[{"role":"user","content":'
    + b'[{"type":"tool_result","content":[{"type":[]}]}]}]}',
    "a part of a type that is a list": RESPONSES
    + b'{"model":"a","input":[{"role":"user","content":[{"type":[]}]}]}',
    "a picture nested 1,000 deep": CHAT
    + b'{"model":"a","messages":[{"role":"user","content":[{"type":"image_url","image_url":'
    + b'{"a":' * 1000
    + b"1"
    + b"}" * 1000
    + b"}]}]}",
}


@pytest.mark.parametrize("name", FOUND)
def test_a_body_that_once_got_past_does_not(name: str) -> None:
    check_parse(FOUND[name])


BLANK = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
FOUND_IN_STREAMS = {
    "a blank line before the count, cut between": bytes([42]) * 8 + b"data: x\n\n\n" + BLANK,
    "an empty list of choices inside a choice": bytes(8)
    + b'data: {"choices":[{"delta":{"x":{"choices":[],"usage":{}}}}]}\n\n',
    "a negative count": b"\x04" * 8
    + b'data: {"type":"message_delta","usage":{"output_tokens":-4}}\n\n',
}


@pytest.mark.parametrize("name", FOUND_IN_STREAMS)
def test_a_stream_that_once_got_past_does_not(name: str) -> None:
    check_framer(FOUND_IN_STREAMS[name])


@pytest.mark.parametrize("changed", [{"n": 2}, {"more": 1}, {"model": "c"}])
def test_a_body_that_changed_elsewhere_would_be_noticed(changed: dict[str, object]) -> None:
    body = b'{"model":"a","n":1,' + HI + b"}"
    sent = orjson.dumps({**orjson.loads(body), "model": UPSTREAM_MODEL, **changed})
    with pytest.raises(AssertionError):
        _same(_pairs(body), _pairs(sent), counted=False)
