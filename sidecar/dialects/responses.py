"""OpenAI responses: items in, items out, and a stream of typed events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from sidecar.dialects import base
from sidecar.dialects.base import Asked, Event
from sidecar.dialects.body import usage_at_end
from sidecar.dialects.openai import OpenAI, answer_usage
from sidecar.dialects.reading import (
    ARRAY,
    BOOLEAN,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    Tally,
    Types,
    check,
    count,
    detail,
    objects,
    string,
)
from sidecar.errors import BadRequest, RequestError
from sidecar.types import Usage

_TYPES: Final[Types] = {
    "instructions": STRING,
    "max_output_tokens": INTEGER,
    "temperature": NUMBER,
    "top_p": NUMBER,
    "stream": BOOLEAN,
    "store": BOOLEAN,
    "background": BOOLEAN,
    "parallel_tool_calls": BOOLEAN,
    "previous_response_id": STRING,
    "tools": ARRAY,
    "include": ARRAY,
    "tool_choice": ((str, dict), "a string or an object"),
    "text": OBJECT,
    "reasoning": OBJECT,
    "metadata": OBJECT,
}
_MEDIA: Final[Mapping[str, tuple[str, str]]] = {
    "input_image": (base.VISION, "image_url"),
    "computer_screenshot": (base.VISION, "image_url"),
    "input_file": (base.FILES, "file_data"),
    "input_audio": (base.AUDIO, "input_audio"),
}
_LONGEST_ID: Final = 512  # characters: what is kept of an answer is small
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_KIND: Final = re.compile(rb'"type"\s*:\s*"(response\.[a-z_.]+)"')
_NAME: Final = re.compile(rb'"response"\s*:\s*\{\s*"id"\s*:\s*"([^"\\]+)"')
# a quote within a string is escaped: what an answer quotes is no number of an event
_NUMBER: Final = re.compile(rb'"sequence_number"\s*:\s*(\d{1,18})')
_ITEM: Final = "response.output_item.done"


class ResponsesDialect(OpenAI):
    """``POST /v1/responses``."""

    name = "responses"
    path = "/responses"

    def tells(self, data: bytes) -> bool:
        return (  # see that of chat completions
            data.find(b'"response.completed"') >= 0
            or data.find(b'"response.incomplete"') >= 0
            or data.find(b'"response.failed"') >= 0
            or data.find(b'"error"') >= 0
        )

    def read(self, body: dict[str, Any]) -> Asked:
        check(body, _TYPES)
        tally = Tally()
        if body.get("instructions"):
            tally.say("system", body["instructions"])
        asked = body.get("input")
        if isinstance(asked, str):
            tally.messages = 1
            tally.say("user", asked)
        elif asked:
            items = objects(asked, "input")
            tally.messages = len(items)
            for i, item in enumerate(items):
                _read_item(tally, item, f"input[{i}]")
        elif not any(map(body.get, ("prompt", "previous_response_id", "conversation"))):
            raise BadRequest(
                "`input` must be a string or a non-empty array of items.", param="input"
            )
        tally.offer(body.get("tools"), "tools")
        _read_format(tally, body.get("text"))
        return tally.asked(body, body.get("max_output_tokens"))

    def event(self, data: bytes) -> Event:
        try:
            event = orjson.loads(data)
            kind = event["type"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return Event()
        if not isinstance(kind, str):
            return Event()
        response = event.get("response")
        usage, name = None, ""
        if isinstance(response, dict):
            said, name = response.get("usage"), _id(response)
            usage = _usage(said) if isinstance(said, dict) else None
        if kind in {"error", "response.failed"}:
            return Event(error=True, usage=usage)  # what failed may be charged for all the same
        if kind in _ENDS:
            return Event(content=True, done=True, usage=usage, answer_id=name)
        # what a tool of the API's own does is shown while it does it, and done again elsewhere
        # it would be charged for twice
        shown = kind.endswith(".delta") or "_call" in kind or kind == _ITEM
        return Event(content=shown, answer_id=name)

    def glimpse(self, head: bytes, tail: bytes) -> Event:
        """The end of a stream repeats the whole answer, pictures and all."""
        kind, name = _KIND.search(head), _NAME.search(head)
        if kind is None or kind.group(1).decode() not in _ENDS:
            return Event(content=True)
        found = usage_at_end(tail)
        usage = None if found is None else self.usage(found)
        return Event(content=True, done=True, usage=usage, answer_id=_named(name))

    def usage(self, answer: bytes) -> Usage:
        usage = answer_usage(answer)
        return _usage(usage) if usage else Usage()

    def answer_id(self, answer: bytes) -> str:
        try:
            response = orjson.loads(answer)
        except orjson.JSONDecodeError:
            return ""
        return _id(response) if isinstance(response, dict) else ""

    def error_event(self, fault: RequestError, request_id: str, last: bytes = b"") -> bytes:
        numbers = _NUMBER.findall(last)
        said = {
            "type": "error",
            "code": fault.code,
            "message": str(fault),
            "param": fault.param,
            "sequence_number": int(numbers[-1]) + 1 if numbers else 0,
            "request_id": request_id,
        }
        return b"event: error\ndata: " + orjson.dumps(said) + b"\n\n"


def _read_item(tally: Tally, item: dict[str, Any], where: str) -> None:
    kind = item.get("type")
    if kind is None:
        kind = "message" if "role" in item or "id" not in item else "item_reference"
    if kind == "message":
        role = string(item, "role", where)
        content = item.get("content")
        if isinstance(content, str):
            tally.say(role, content)
        else:
            parts = objects(content, f"{where}.content")
            texts = (_read_part(tally, p, f"{where}.content[{i}]") for i, p in enumerate(parts))
            tally.say(role, "\n".join(filter(None, texts)))
    elif isinstance(kind, str):
        _read_act(tally, item, kind)


def _read_part(tally: Tally, part: dict[str, Any], where: str) -> str:
    """The text of one content part; a picture, clip or file is noted."""
    kind = str(part.get("type"))
    media = _MEDIA.get(kind)
    if media:
        tally.attach(media[0], part.get(media[1]))
    elif isinstance(part.get("text"), str):
        return str(part["text"])
    elif kind in {"input_text", "output_text"}:
        string(part, "text", where)
    return ""


def _read_act(tally: Tally, item: dict[str, Any], kind: str) -> None:
    """What is no message: a tool's call or its output, more tools, a change of what is asked."""
    if kind == "item_reference":
        tally.stateful = True
    if item.get("tools"):
        tally.needs.add(base.TOOLS)
    _read_format(tally, item.get("text"))
    if "call" not in kind:
        return
    if not kind.endswith("_output"):
        tally.act()
        if item.get("result"):  # a picture that was made, sent back to go on from
            tally.attach(base.VISION, item["result"])
        return
    output = item.get("output")
    for part in output if isinstance(output, list) else [output]:
        if not isinstance(part, dict):
            continue
        media = _MEDIA.get(str(part.get("type")))
        if media:
            tally.attach(media[0], part.get(media[1]))
    tally.result()


def _read_format(tally: Tally, text: object) -> None:
    """The form that the answer is to have."""
    form = text.get("format") if isinstance(text, dict) else None
    if isinstance(form, dict) and form.get("type") == "json_schema":
        tally.needs.add(base.JSON_SCHEMA)


def _named(name: re.Match[bytes] | None) -> str:
    return _id({"id": name.group(1).decode("utf-8", "replace")}) if name else ""


def _id(response: Mapping[str, Any]) -> str:
    """The id of a response, if it has one that a request could name."""
    name = response.get("id")
    return name if isinstance(name, str) and len(name) <= _LONGEST_ID else ""


def _usage(usage: dict[str, Any]) -> Usage:
    return Usage(
        input_tokens=count(usage.get("input_tokens")),
        cached_tokens=detail(usage, "input_tokens_details", "cached_tokens"),
        output_tokens=count(usage.get("output_tokens")),
        reasoning_tokens=detail(usage, "output_tokens_details", "reasoning_tokens"),
        written_tokens=detail(usage, "input_tokens_details", "cache_write_tokens"),
    )
