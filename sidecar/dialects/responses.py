"""OpenAI responses: items in, items out, and a stream of typed events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from sidecar.dialects import base
from sidecar.dialects.base import Asked, Event
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
    "input_file": (base.FILES, "file_data"),
    "input_audio": (base.AUDIO, "input_audio"),
}
_LONGEST_ID: Final = 512  # characters: what is kept of an answer is small
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})


class ResponsesDialect(OpenAI):
    """``POST /v1/responses``."""

    name = "responses"
    path = "/responses"

    def tells(self, data: bytes) -> bool:
        return (
            b'"response.completed"' in data
            or b'"response.incomplete"' in data
            or b'"response.failed"' in data
            or b'"error"' in data
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
        elif not (body.get("prompt") or body.get("previous_response_id")):
            raise BadRequest(
                "`input` must be a string or a non-empty array of items.", param="input"
            )
        tally.offer(body.get("tools"), "tools")
        form = (body.get("text") or {}).get("format")
        if isinstance(form, dict) and form.get("type") == "json_schema":
            tally.needs.add(base.JSON_SCHEMA)
        return tally.asked(body, body.get("max_output_tokens"))

    def event(self, data: bytes) -> Event:
        try:
            event = orjson.loads(data)
            kind = event["type"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return Event()
        if not isinstance(kind, str):
            return Event()
        if kind in {"error", "response.failed"}:
            return Event(error=True)
        response = event.get("response")
        if not isinstance(response, dict):
            return Event(content=kind in _ENDS or kind.endswith(".delta"), done=kind in _ENDS)
        if kind in _ENDS:
            usage = response.get("usage")
            said = _usage(usage) if isinstance(usage, dict) else None
            return Event(content=True, done=True, usage=said, answer_id=_id(response))
        return Event(content=kind.endswith(".delta"), answer_id=_id(response))

    def usage(self, answer: bytes) -> Usage:
        usage = answer_usage(answer)
        return _usage(usage) if usage else Usage()

    def answer_id(self, answer: bytes) -> str:
        try:
            response = orjson.loads(answer)
        except orjson.JSONDecodeError:
            return ""
        return _id(response) if isinstance(response, dict) else ""

    def error_event(self, fault: RequestError, request_id: str) -> bytes:
        said = {
            "type": "error",
            "code": fault.code,
            "message": str(fault),
            "param": fault.param,
            "request_id": request_id,
        }
        return b"event: error\ndata: " + orjson.dumps(said) + b"\n\n"


def _read_item(tally: Tally, item: dict[str, Any], where: str) -> None:
    kind = item.get("type", "message")
    if kind != "message":  # a tool's call or its output, a reasoning item, a reference
        if isinstance(kind, str) and "call" in kind:
            if kind.endswith("_output"):
                tally.result()
            else:
                tally.act()
        return
    role = string(item, "role", where)
    content = item.get("content")
    if isinstance(content, str):
        tally.say(role, content)
        return
    texts = []
    for i, part in enumerate(objects(content, f"{where}.content")):
        kind = str(part.get("type"))
        media = _MEDIA.get(kind)
        if media:
            tally.attach(media[0], part.get(media[1]))
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in {"input_text", "output_text"}:
            string(part, "text", f"{where}.content[{i}]")
    tally.say(role, "\n".join(texts))


def _id(response: Mapping[str, Any]) -> str:
    """The id of a response, if it has one that a request could name."""
    name = response.get("id")
    return name if isinstance(name, str) and len(name) <= _LONGEST_ID else ""


def _usage(usage: Mapping[str, Any]) -> Usage:
    return Usage(
        input_tokens=count(usage.get("input_tokens")),
        cached_tokens=detail(usage, "input_tokens_details", "cached_tokens"),
        output_tokens=count(usage.get("output_tokens")),
        reasoning_tokens=detail(usage, "output_tokens_details", "reasoning_tokens"),
    )
