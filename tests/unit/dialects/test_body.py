"""The body goes up byte for byte, but for the value of the top-level ``model``."""

from __future__ import annotations

import contextlib
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.dialects.body import edited, model_span, parse_object, value_spans
from sidecar.errors import BadRequest
from sidecar.types import Edit

text = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ["model", '"model"', '"model":"x"', "\\", '\\"', "{", "}]", "\\u006dodel", "mode", ",:"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(text | st.just("model"), inner, max_size=4)
    ),
    max_leaves=12,
)
spaces = st.text(" \t\r\n", max_size=3)
# the same key in other spellings: each letter as it is or escaped, in either case
letters = st.tuples(
    *(st.sampled_from([c, f"\\u{ord(c):04x}", f"\\u{ord(c):04X}"]) for c in "model")
)


def splice(body: bytes, span: tuple[int, int], value: str) -> bytes:
    """The body with another model, as dispatch sends it."""
    return edited(body, (Edit(*span, orjson.dumps(value)),))


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, str]:
    """A JSON object with one top-level ``model``, laid out anyhow; and that model's JSON."""
    fields = draw(st.dictionaries(text.filter(lambda k: k != "model"), values, max_size=5))
    pairs = [
        (
            json.dumps(k, ensure_ascii=draw(st.booleans())),
            json.dumps(v, indent=draw(st.none() | st.just(1))),
        )
        for k, v in fields.items()
    ]
    model = json.dumps(draw(text), ensure_ascii=draw(st.booleans()))
    key = '"' + "".join(draw(letters)) + '"'
    pairs.insert(draw(st.integers(0, len(pairs))), (key, model))
    space = lambda: draw(spaces)  # noqa: E731
    inner = ",".join(f"{space()}{k}{space()}:{space()}{v}{space()}" for k, v in pairs)
    return f"{space()}{{{inner}}}{space()}", model


@given(bodies(), text)
def test_splice_replaces_the_model_and_not_one_other_byte(made: tuple[str, str], new: str) -> None:
    body = made[0].encode()
    start, end = model_span(body)
    assert body[start:end].decode() == made[1]
    sent = splice(body, (start, end), new)
    assert sent.startswith(body[:start])
    assert sent.endswith(body[end:])
    assert json.loads(sent) == {**json.loads(body), "model": new}


@given(bodies())
def test_splicing_the_same_model_in_again_means_the_same(made: tuple[str, str]) -> None:
    body = made[0].encode()
    model = parse_object(body)["model"]
    assert parse_object(splice(body, model_span(body), model)) == parse_object(body)


@given(bodies(), bodies())
def test_a_model_named_twice_is_refused(one: tuple[str, str], two: tuple[str, str]) -> None:
    body = f"{one[0].rstrip()[:-1]},{two[0].lstrip()[1:]}".encode()
    with pytest.raises(BadRequest, match="more than once") as caught:
        model_span(body)
    assert (caught.value.param, caught.value.code) == ("model", "duplicate_key")


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (rb'{"model":"auto"}', b'"auto"'),
        (rb'{ "model" : "auto" }', b'"auto"'),
        (rb'{"\u006dodel":"auto"}', b'"auto"'),
        (rb'{"\u006d\u006F\u0064\u0065\u006C":"auto","x":"model"}', b'"auto"'),
        (rb'{"x":"model","model":"auto"}', b'"auto"'),
        (rb'{"x":{"model":"inner"},"model":"auto"}', b'"auto"'),
        (rb'{"x":[{"model":"inner"}],"\u006dodel":"auto"}', b'"auto"'),
        (rb'{"x":"say \"model\":\"y\"","model":"auto"}', b'"auto"'),
        (rb'{"x":"ends in \"model","model":"auto"}', b'"auto"'),
        (rb'{"x":"\\","model":"auto"}', b'"auto"'),
        (rb'{"x":"\\\\\"","model":"a\"uto"}', rb'"a\"uto"'),
        (rb'{"x":"\\u006dodel","model":"auto"}', b'"auto"'),
        (rb'{"model":"model"}', b'"model"'),
        (rb'{"model ":"no"," model":"no","model":"auto"}', b'"auto"'),
        (rb'{"x":"\ud800","model":"auto"}', b'"auto"'),
    ],
)
def test_the_span_is_of_the_top_level_model(body: bytes, value: bytes) -> None:
    start, end = model_span(body)
    assert body[start:end] == value


def test_the_span_holds_after_much_text_and_deep_nesting() -> None:
    deep = "[" * 500 + '"model"' + "]" * 500
    body = f'{{"a":{deep},"b":"{"x" * 100_000}","\\u006dodel":"auto"}}'.encode()
    start, end = model_span(body)
    assert body[start:end] == b'"auto"'


def test_spans_of_another_key_are_found_too() -> None:
    body = b'{"user":"a","x":{"user":"b"},"user":"c"}'
    assert [body[s:e] for s, e in value_spans(body, "user")] == [b'"a"', b'"c"']


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b" \r\n\t", "empty"),
        (b"[]", "array"),
        (b'"x"', "string"),
        (b"null", "null"),
        (b"true", "boolean"),
        (b"1.5", "number"),
        (b"{", "not valid JSON"),
        (b'{"a":1,}', "not valid JSON"),
        (b"{'a':1}", "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":"\\ud800","b":NaN}', "not valid JSON"),
        (b'{"a":"\\ud800"', "not valid JSON"),
        (b'{"a":1}{"b":2}', "not valid JSON"),
        (b'{"a":"\x00"}', "not valid JSON"),
        (b"\x00", "not valid JSON"),
        (b'\xef\xbb\xbf{"a":1}', "not valid JSON"),
        (b'{"a":"\xff"}', "not valid UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not valid UTF-8"),
        ('{"a":"x"}'.encode("utf-16"), "not valid UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, "not valid JSON"),
        (b'{"a":' * 100_000 + b'"\\ud800"' + b"}" * 100_000, "not valid JSON"),
    ],
)
def test_what_is_not_one_json_object_is_refused_in_a_sentence(body: bytes, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_object(body)
    assert says in str(caught.value)
    assert str(caught.value).endswith(".")
    assert caught.value.code == "invalid_json"


def test_an_unpaired_surrogate_escape_is_json_and_passes() -> None:
    body = rb'{"model":"auto","x":"\uD83D alone"}'
    assert parse_object(body)["x"] == "\ud83d alone"
    assert splice(body, model_span(body), "m") == rb'{"model":"m","x":"\uD83D alone"}'


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda b: b'{"a":"' + b + b'"}'))
def test_any_bytes_are_an_object_or_a_bad_request(body: bytes) -> None:
    with contextlib.suppress(BadRequest):
        assert isinstance(parse_object(body), dict)
