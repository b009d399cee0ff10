"""What an operator changes in a request for one model, as edits of its bytes.

A prompt or a parameter that one model of many wants is a matter of configuration and
not of the app. Each change is spliced in where it stands; every other byte goes up as
it came. Pure. In this order:

 1. ``rename``: a parameter's name; where the new name is there too, that one counts.
 2. ``drop``: a parameter goes, by the name the app gave it.
 3. ``set``, ``temperature``, ``reasoning_effort``, ``max_tokens``: a value is replaced or
    added; ``max_tokens`` only lowers what the app asked for, or says it where the app did
    not.
 4. ``system_prompt``: put before the app's own with a blank line between them, or in its
    place.

Each stands where the dialect has it: the first system message of a chat, ``system`` of
messages, ``instructions`` of responses. Completions and embeddings have no such place,
and are sent without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

import orjson

from sidecar.dialects.body import Member, first_element, members
from sidecar.types import Call, Edit

# What is the router's own or the conversation itself: not a parameter.
RESERVED: Final = frozenset(
    {"model", "stream", "stream_options", "messages", "input", "prompt", "system", "instructions"}
)
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
# The names of the limit of an answer's tokens; what is added is the first of them.
_LIMITS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "chat": ("max_tokens", "max_completion_tokens"),
        "completions": ("max_tokens",),
        "responses": ("max_output_tokens",),
        "messages": ("max_tokens",),
    }
)
# Where each dialect has the effort: a parameter, or one within an object.
_EFFORT: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "chat": ("reasoning_effort",),
        "responses": ("reasoning", "effort"),
        "messages": ("output_config", "effort"),
    }
)
_SYSTEM: Final = MappingProxyType({"messages": "system", "responses": "instructions"})


@dataclass(frozen=True, slots=True)
class Overrides:
    """The changes for one model."""

    system_prefix: str | None = field(default=None, repr=False)
    system_replace: str | None = field(default=None, repr=False)
    max_tokens: int | None = None
    temperature: float | None = None
    reasoning_effort: str | None = None
    drop: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    values: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    @property
    def tokens(self) -> int:
        """By how many tokens at most they make the question longer, as bodies are bounded."""
        return len((self.system_prefix or self.system_replace or "").encode()) // 3

    def applied(self, call: Call) -> Call:
        """``call`` as it is to be priced: by its length, its limit and its answers at once, as
        they are once these changes are made. What a prompt replaced is off its length too."""
        length, limit = call.input_tokens, call.max_output_tokens
        if call.dialect == "chat" or call.dialect in _SYSTEM:
            length += self.tokens
            if self.system_replace is not None:
                length = max(self.tokens, length - len(call.prompt.system.encode()) // 3)
        limits = _LIMITS.get(call.dialect, ())
        told = [self.values[name] for name in limits if name in self.values]
        if told and isinstance(told[0], int):
            limit = told[0]
        else:
            if limits and self.drop.issuperset(limits):
                limit = None
            if limits and self.max_tokens is not None:
                limit = self.max_tokens if limit is None else min(limit, self.max_tokens)
        choices = call.choices
        if call.dialect == "chat":  # of completions it counts the prompts as well
            many = self.values.get("n")
            if isinstance(many, int) and many > 0:
                choices = many
            elif "n" in self.drop:
                choices = 1
        return replace(call, input_tokens=length, max_output_tokens=limit, choices=choices)

    def of_the_prompt(self) -> Overrides:
        """What of them changes the prompt, and nothing that is for its answer."""
        return Overrides(self.system_prefix, self.system_replace)


def edits(body: bytes, dialect: str, overrides: Overrides) -> list[Edit]:
    """The edits that make ``overrides`` true of ``body``, a valid JSON object with a model."""
    start = body.index(b"{")
    top = members(body, start)
    return [
        *_parameters(body, start, top, dialect, overrides),
        *_system(body, start, top, dialect, overrides),
    ]


# -- parameters -------------------------------------------------------------------------


def _parameters(
    body: bytes, start: int, top: list[Member], dialect: str, overrides: Overrides
) -> list[Edit]:
    values = dict(overrides.values)
    if overrides.temperature is not None and dialect != "embeddings":
        values["temperature"] = overrides.temperature
    effort = _EFFORT.get(dialect, ()) if overrides.reasoning_effort is not None else ()
    if len(effort) == 1:
        values[effort[0]] = overrides.reasoning_effort
    limits = _LIMITS.get(dialect, ()) if overrides.max_tokens is not None else ()
    renamed = _renamed(overrides, {member.key for member in top}, values)
    made: list[Edit] = []
    there: set[str] = set()
    limited = False
    kept_one = False  # a member before this one stays: its comma is the one to take
    for i, member in enumerate(top):
        name = renamed.get(member.key, member.key)
        if (member.key in overrides.drop or name is None) and name not in values:
            made.append(_removal(top, i, kept_one=kept_one))
            continue
        kept_one = True
        name = name or member.key
        there.add(name)
        if name != member.key:
            made.append(Edit(member.start, member.key_end, orjson.dumps(name)))
        if name in values:
            made.append(Edit(member.value, member.end, orjson.dumps(values[name])))
        elif member.key in limits or name in limits:
            limited = True
            if _above(body[member.value : member.end], overrides.max_tokens):
                made.append(Edit(member.value, member.end, b"%d" % (overrides.max_tokens or 0)))
        elif len(effort) == 2 and name == effort[0]:
            made += _within(body, member, effort[1], overrides.reasoning_effort)
    added = {name: value for name, value in values.items() if name not in there}
    if limits and not limited and not there.intersection(limits):
        added[overrides.rename.get(limits[0], limits[0])] = overrides.max_tokens
    if len(effort) == 2 and effort[0] not in there:
        added[effort[0]] = {effort[1]: overrides.reasoning_effort}
    data = b"".join(orjson.dumps(n) + b":" + orjson.dumps(v) + b"," for n, v in added.items())
    return [Edit(start + 1, start + 1, data), *made] if data else made


def _renamed(
    overrides: Overrides, there: set[str], values: Mapping[str, Any]
) -> dict[str, str | None]:
    """The new name of each parameter that gets one; None where another counts instead."""
    taken = there - overrides.drop
    return {
        old: None if new in taken or new in values else new
        for old, new in overrides.rename.items()
        if old in there
    }


def _removal(top: list[Member], i: int, *, kept_one: bool) -> Edit:
    """The edit that takes out a member and one comma; the model's own always stays."""
    if kept_one:
        return Edit(top[i - 1].end, top[i].end, b"")
    return Edit(top[i].start, top[i + 1].start, b"")


def _above(value: bytes, limit: int | None) -> bool:
    said = json.loads(value)
    return limit is not None and (not isinstance(said, int | float) or said > limit)


def _within(body: bytes, holder: Member, name: str, value: object) -> list[Edit]:
    """One value within an object; a holder that is none becomes one."""
    data = orjson.dumps(name) + b":" + orjson.dumps(value)
    if body[holder.value] != 0x7B:
        return [Edit(holder.value, holder.end, b"{" + data + b"}")]
    inner = members(body, holder.value)
    found = [member for member in inner if member.key == name]
    if found:
        return [Edit(member.value, member.end, orjson.dumps(value)) for member in found]
    at = holder.value + 1
    return [Edit(at, at, data + b"," if inner else data)]


# -- the system prompt ------------------------------------------------------------------


def _system(
    body: bytes, start: int, top: list[Member], dialect: str, overrides: Overrides
) -> list[Edit]:
    prefix, instead = overrides.system_prefix, overrides.system_replace
    text = prefix if instead is None else instead
    if text is None:
        return []
    if dialect == "chat":
        return _first_message(body, top, text, replace=instead is not None)
    name = _SYSTEM.get(dialect)
    if name is None:
        return []
    held = [member for member in top if member.key == name]
    if not held:
        data = orjson.dumps(name) + b":" + orjson.dumps(text) + b","
        return [Edit(start + 1, start + 1, data)]
    # readers of a key that stands twice take the last
    return [_said(body, held[-1], text, replace=instead is not None)]


def _first_message(body: bytes, top: list[Member], text: str, *, replace: bool) -> list[Edit]:
    messages = next(m for m in reversed(top) if m.key == "messages")
    first = first_element(body, messages.value)
    said = {member.key: member for member in members(body, first)}
    role = json.loads(body[said["role"].value : said["role"].end])
    if role in {"system", "developer"}:
        content = said.get("content")
        if content is not None:
            return [_said(body, content, text, replace=replace)]
    data = orjson.dumps({"role": "system", "content": text}) + b","
    return [Edit(first, first, data)]


def _said(body: bytes, held: Member, text: str, *, replace: bool) -> Edit:
    """``text`` in place of what is held, or before it: a string, or a list of text parts."""
    opening = body[held.value]
    if not replace and opening == 0x22:
        at = held.value + 1
        return Edit(at, at, orjson.dumps(f"{text}\n\n")[1:-1])
    if not replace and opening == 0x5B:
        at = held.value + 1
        empty = not body[at : held.end - 1].strip()
        part = orjson.dumps({"type": "text", "text": text})
        return Edit(at, at, part if empty else part + b",")
    return Edit(held.value, held.end, orjson.dumps(text))
