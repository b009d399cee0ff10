"""What an operator changes is changed, and not one other byte."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.config import schema
from sidecar.config.snapshot import ModelSpec
from sidecar.dialects.body import edited, members, model_span
from sidecar.dialects.overrides import RESERVED, Overrides, edits
from sidecar.types import Edit


def applied(body: bytes, dialect: str = "chat", **kw: Any) -> bytes:
    """As dispatch does it: with the model's own edit among them."""
    named = Edit(*model_span(body), b'"up"')
    return edited(body, [named, *edits(body, dialect, Overrides(**kw))])


HELLO = b'{"model": "auto", "messages": [{"role": "user", "content": "hi"}]}'


# -- the system prompt ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "body", "prefixed", "replaced"),
    [
        (
            "chat",
            b'{"messages":[ {"role":"system","content":"Be \\u00e9l"}],"model":"a"}',
            b'{"messages":[ {"role":"system","content":"P\\n\\nBe \\u00e9l"}],"model":"up"}',
            b'{"messages":[ {"role":"system","content":"P"}],"model":"up"}',
        ),
        (
            "chat",
            b'{"model":"a","messages":[{"content":[{"type":"text","text":"x"}],"role":"developer"}]}',
            b'{"model":"up","messages":[{"content":[{"type":"text","text":"P"},'
            b'{"type":"text","text":"x"}],"role":"developer"}]}',
            b'{"model":"up","messages":[{"content":"P","role":"developer"}]}',
        ),
        (
            "chat",
            b'{"model":"a","messages":[ {"role":"user","content":"hi"}]}',
            b'{"model":"up","messages":[ {"role":"system","content":"P"},'
            b'{"role":"user","content":"hi"}]}',
            b'{"model":"up","messages":[ {"role":"system","content":"P"},'
            b'{"role":"user","content":"hi"}]}',
        ),
        (
            "messages",
            b'{"model":"a","system":"s","messages":[]}',
            b'{"model":"up","system":"P\\n\\ns","messages":[]}',
            b'{"model":"up","system":"P","messages":[]}',
        ),
        (
            "messages",
            b'{"model":"a","system":[ ],"messages":[]}',
            b'{"model":"up","system":[{"type":"text","text":"P"} ],"messages":[]}',
            b'{"model":"up","system":"P","messages":[]}',
        ),
        (
            "messages",
            b'{"model":"a","messages":[]}',
            b'{"system":"P","model":"up","messages":[]}',
            b'{"system":"P","model":"up","messages":[]}',
        ),
        (
            "responses",
            b'{"model":"a","input":"hi","instructions":null}',
            b'{"model":"up","input":"hi","instructions":"P"}',
            b'{"model":"up","input":"hi","instructions":"P"}',
        ),
        (
            "responses",
            b'{"model":"a","input":"hi"}',
            b'{"instructions":"P","model":"up","input":"hi"}',
            b'{"instructions":"P","model":"up","input":"hi"}',
        ),
        ("embeddings", b'{"model":"a","input":"hi"}', b'{"model":"up","input":"hi"}', None),
        ("completions", b'{"model":"a","prompt":"hi"}', b'{"model":"up","prompt":"hi"}', None),
    ],
)
def test_a_system_prompt_stands_where_its_dialect_has_it(
    dialect: str, body: bytes, prefixed: bytes, replaced: bytes | None
) -> None:
    assert applied(body, dialect, system_prefix="P") == prefixed
    assert applied(body, dialect, system_replace="P") == (replaced or prefixed)


# -- parameters -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "body", "kw", "after"),
    [
        ("chat", b'{"model":"a","temperature": 1}', {"temperature": 0.5},
         b'{"model":"up","temperature": 0.5}'),
        ("chat", b'{"model":"a"}', {"temperature": 0.0}, b'{"temperature":0.0,"model":"up"}'),
        ("chat", b'{"max_tokens":50 ,"model":"a"}', {"max_tokens": 100},
         b'{"max_tokens":50 ,"model":"up"}'),
        ("chat", b'{"max_tokens":500 ,"model":"a"}', {"max_tokens": 100},
         b'{"max_tokens":100 ,"model":"up"}'),
        ("chat", b'{"max_completion_tokens":null,"model":"a"}', {"max_tokens": 100},
         b'{"max_completion_tokens":100,"model":"up"}'),
        ("chat", b'{"model":"a"}', {"max_tokens": 9}, b'{"max_tokens":9,"model":"up"}'),
        ("chat", b'{"model":"a"}',
         {"max_tokens": 9, "rename": {"max_tokens": "max_completion_tokens"}},
         b'{"max_completion_tokens":9,"model":"up"}'),
        ("chat", b'{"max_tokens":99,"model":"a"}',
         {"max_tokens": 9, "rename": {"max_tokens": "max_completion_tokens"}},
         b'{"max_completion_tokens":9,"model":"up"}'),
        ("responses", b'{"model":"a"}', {"max_tokens": 9}, b'{"max_output_tokens":9,"model":"up"}'),
        ("embeddings", b'{"model":"a"}', {"max_tokens": 9, "temperature": 1.0}, b'{"model":"up"}'),
        ("chat", b'{"model":"a"}', {"reasoning_effort": "low"},
         b'{"reasoning_effort":"low","model":"up"}'),
        ("responses", b'{"reasoning":{"summary":"auto"},"model":"a"}', {"reasoning_effort": "low"},
         b'{"reasoning":{"effort":"low","summary":"auto"},"model":"up"}'),
        ("responses", b'{"reasoning":{"effort":"high"},"model":"a"}', {"reasoning_effort": "low"},
         b'{"reasoning":{"effort":"low"},"model":"up"}'),
        ("responses", b'{"reasoning":{},"model":"a"}', {"reasoning_effort": "low"},
         b'{"reasoning":{"effort":"low"},"model":"up"}'),
        ("responses", b'{"reasoning":null,"model":"a"}', {"reasoning_effort": "low"},
         b'{"reasoning":{"effort":"low"},"model":"up"}'),
        ("messages", b'{"model":"a"}', {"reasoning_effort": "low"},
         b'{"output_config":{"effort":"low"},"model":"up"}'),
        ("chat", b'{ "seed":1 , "user":"u", "model":"a" ,"top_k":4, "min_p" :[1, {"a":2}] }',
         {"drop": frozenset({"seed", "user", "top_k", "min_p"})}, b'{ "model":"up" }'),
        ("chat", b'{"model":"a","x":1,"y":2}', {"drop": frozenset({"x"})}, b'{"model":"up","y":2}'),
        ("chat", b'{"a":1,"b":2,"model":"a"}', {"rename": {"a": "b"}}, b'{"b":2,"model":"up"}'),
        ("chat", b'{"a":1,"b":2,"model":"a"}', {"rename": {"a": "b"}, "drop": frozenset({"b"})},
         b'{"b":1,"model":"up"}'),
        ("chat", b'{"model":"a","n":1,"n":2}', {"values": {"n": [3], "m": None}},
         b'{"m":null,"model":"up","n":[3],"n":[3]}'),
        ("chat", b'{"seed":1,"model":"a"}', {"drop": frozenset({"seed"}), "values": {"x": 1}},
         b'{"x":1,"model":"up"}'),
    ],
)  # fmt: skip
def test_a_parameter_is_as_configured(
    dialect: str, body: bytes, kw: dict[str, Any], after: bytes
) -> None:
    assert applied(body, dialect, **kw) == after


# -- every other byte -------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-9, 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
)
values = (
    scalars
    | st.lists(scalars, max_size=2)
    | st.dictionaries(st.text(max_size=3), scalars, max_size=2)
)
NAMES = ("temperature", "max_tokens", "max_completion_tokens", "seed", "top_p", "n", "x", "y")
names = st.sampled_from(NAMES)


def written(value: Any, rng: random.Random) -> bytes:
    """One JSON value as any writer might have written it."""

    def space() -> bytes:
        return rng.choice([b"", b"", b" ", b"\n  ", b"\t"])

    if isinstance(value, dict):
        parts = [
            space() + written(key, rng) + space() + b":" + space() + written(each, rng) + space()
            for key, each in value.items()
        ]
        return b"{" + (b",".join(parts) or space()) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(space() + written(each, rng) for each in value) + b"]"
    return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()


def body_of(parameters: dict[str, Any], role: str, text: str, seed: int) -> bytes:
    rng = random.Random(seed)
    fields = [
        ("model", "auto"),
        ("messages", [{"role": role, "content": text}]),
        *parameters.items(),
    ]
    rng.shuffle(fields)
    return written(dict(fields), rng)


bodies = st.builds(
    body_of,
    st.dictionaries(names, values, max_size=6),
    st.sampled_from(["user", "system"]),
    st.text(max_size=9),
    st.integers(0, 2**32),
)
changes = st.fixed_dictionaries(
    {
        "drop": st.frozensets(names, max_size=3),
        "rename": st.sampled_from(
            [{}, {"x": "seed"}, {"max_tokens": "max_completion_tokens"}, {"y": "z"}, {"n": "z"}]
        ),
        "values": st.dictionaries(st.sampled_from(["n", "x", "w"]), scalars, max_size=2),
        "temperature": st.none() | st.floats(0, 2),
        "max_tokens": st.none() | st.integers(1, 100),
        "system_prefix": st.none() | st.text(min_size=1, max_size=9),
    }
)


def asked_for(body: bytes, kw: dict[str, Any]) -> dict[str, Any]:
    """The same changes made on the object instead of the bytes."""
    said: dict[str, Any] = json.loads(body)
    kept = {k: v for k, v in said.items() if k not in kw["drop"]}
    values = dict(kw["values"])
    if kw["temperature"] is not None:
        values["temperature"] = kw["temperature"]
    out: dict[str, Any] = {}
    for key, value in kept.items():
        new = kw["rename"].get(key)
        if new is not None and (new in kept or new in values):
            continue
        out[new or key] = value
    # a limit is known by its old name and by its new one
    limits = {"max_tokens", "max_completion_tokens"}
    limits |= {new for old, new in kw["rename"].items() if old in limits and old in kept}
    if kw["max_tokens"] is not None:
        found = limits & out.keys()
        for name in found - values.keys():
            old = out[name]
            number = isinstance(old, int | float)
            out[name] = old if number and old <= kw["max_tokens"] else kw["max_tokens"]
        if not found:
            out[kw["rename"].get("max_tokens", "max_tokens")] = kw["max_tokens"]
    out.update(values)
    out["model"] = "up"
    if kw["system_prefix"] is not None:
        first, *rest = said["messages"]
        if first["role"] == "system":
            first = {**first, "content": f"{kw['system_prefix']}\n\n{first['content']}"}
            out["messages"] = [first, *rest]
        else:
            out["messages"] = [{"role": "system", "content": kw["system_prefix"]}, first, *rest]
    return out


@settings(max_examples=60)
@given(bodies, changes)
def test_what_is_changed_is_what_was_asked_for(body: bytes, kw: dict[str, Any]) -> None:
    assert json.loads(applied(body, **kw)) == asked_for(body, kw)


@settings(max_examples=60)
@given(bodies, changes)
def test_every_member_that_nothing_is_said_of_keeps_its_bytes(
    body: bytes, kw: dict[str, Any]
) -> None:
    touched = {
        "model", "messages", "temperature", "max_tokens", "max_completion_tokens",
        *kw["drop"], *kw["rename"], *kw["rename"].values(), *kw["values"],
    }  # fmt: skip

    def untouched(raw: bytes) -> list[bytes]:
        return [raw[m.start : m.end] for m in members(raw, 0) if m.key not in touched]

    assert untouched(applied(body, **kw)) == untouched(body)


@given(bodies)
def test_overrides_that_say_nothing_change_nothing(body: bytes) -> None:
    assert edits(body, "chat", Overrides()) == []


@given(bodies, st.text(min_size=1, max_size=20))
def test_a_prefix_adds_its_own_bytes_and_no_other(body: bytes, prefix: str) -> None:
    made = edits(body, "chat", Overrides(system_prefix=prefix))
    assert len(made) == 1
    assert made[0].start == made[0].end
    after = edited(body, made)
    assert after[: made[0].start] + after[made[0].start + len(made[0].data) :] == body


# -- the configuration ------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_what_is_no_parameter_is_refused(name: str) -> None:
    for section in (
        {"drop": name},
        {"rename": {"x": name}},
        {"rename": {name: "x"}},
        {"set": {name: 1}},
    ):
        with pytest.raises(ValueError, match="no parameter"):
            schema.Overrides.model_validate(section)


@pytest.mark.parametrize(
    "section",
    [
        {"system_prompt": {}},
        {"system_prompt": {"prefix": "a", "replace": "b"}},
        {"max_tokens": 0},
        {"temperature": 3},
        {"rename": {"a": "c", "b": "c"}},
        {"set": {"a": 2**70}},
        {"whatever": 1},
    ],
)
def test_overrides_that_cannot_be_meant_are_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        schema.Overrides.model_validate(section)


def test_a_longer_prompt_needs_more_room() -> None:
    from dataclasses import replace

    from sidecar.decide.capability import missing
    from tests.support.builders import call, model

    spec: ModelSpec = model("m", context=100)
    assert missing(call(input_tokens=90), spec) == ()
    longer = replace(spec, overrides=Overrides(system_prefix="x" * 60))
    assert missing(call(input_tokens=90), longer) == ("room for 110 tokens",)
