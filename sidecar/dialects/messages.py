"""Anthropic messages: content blocks, and a stream whose usage comes in two parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from sidecar.dialects import base
from sidecar.dialects.base import Asked, Event
from sidecar.dialects.openai import answer_usage
from sidecar.dialects.reading import (
    ARRAY,
    BOOLEAN,
    INTEGER,
    NUMBER,
    OBJECT,
    Tally,
    Types,
    check,
    count,
    detail,
    objects,
    string,
)
from sidecar.errors import BadRequest, RequestError
from sidecar.types import Edit, Usage

_TYPES: Final[Types] = {
    "max_tokens": INTEGER,
    "temperature": NUMBER,
    "top_p": NUMBER,
    "top_k": INTEGER,
    "stream": BOOLEAN,
    "stop_sequences": ARRAY,
    "tools": ARRAY,
    "tool_choice": OBJECT,
    "metadata": OBJECT,
    "thinking": OBJECT,
    "output_config": OBJECT,
    "system": ((str, list), "a string or an array of text blocks"),
}
_MEDIA: Final[Mapping[str, str]] = {"image": base.VISION, "document": base.FILES}
# Anthropic's error types by status; anything else is an api_error.
_ERRORS: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    413: "request_too_large",
    417: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class MessagesDialect:
    """``POST /v1/messages``."""

    name = "messages"
    path = "/messages"
    family = "anthropic"

    def tells(self, data: bytes) -> bool:
        return (
            data.find(b'"message_') >= 0 or data.find(b'"error"') >= 0
        )  # see that of chat completions

    def read(self, body: dict[str, Any]) -> Asked:
        check(body, _TYPES)
        tally = Tally()
        system = body.get("system")
        if isinstance(system, list):
            blocks = objects(system, "system")
            system = "\n".join(string(b, "text", f"system[{i}]") for i, b in enumerate(blocks))
        if system:
            tally.say("system", system)
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadRequest(
                "`messages` must be a non-empty array of message objects.", param="messages"
            )
        tally.messages = len(messages)
        for i, message in enumerate(objects(messages, "messages")):
            _read_message(tally, message, f"messages[{i}]")
        tally.offer(body.get("tools"), "tools")
        form = body.get("output_format") or (body.get("output_config") or {}).get("format")
        if isinstance(form, dict) and form.get("type") == "json_schema":
            tally.needs.add(base.JSON_SCHEMA)
        return tally.asked(body, body.get("max_tokens"))

    def usage_edit(self, raw: bytes, body: dict[str, Any]) -> Edit | None:
        return None  # every stream counts

    def event(self, data: bytes) -> Event:
        try:
            event = orjson.loads(data)
            kind = event["type"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return Event()
        if kind == "content_block_delta":
            return Event(content=True)
        if kind == "error":
            return Event(error=True)
        if kind == "message_stop":
            return Event(done=True)
        if kind == "message_start":
            message = event.get("message")
            return Event(usage=_usage_of(message))
        if kind == "message_delta":
            # an answer may be a stop reason and nothing else: that is content too
            return Event(content=True, usage=_usage_of(event))
        return Event()

    def glimpse(self, head: bytes, tail: bytes) -> Event:
        return Event(content=True)  # nothing is so large but what the app is to see

    def answer_id(self, answer: bytes) -> str:
        return ""

    def usage(self, answer: bytes) -> Usage:
        usage = answer_usage(answer)
        return _usage(usage) if usage else Usage()

    def error(self, fault: RequestError, request_id: str) -> bytes:
        return orjson.dumps(self._error(fault, request_id))

    def error_event(self, fault: RequestError, request_id: str, last: bytes = b"") -> bytes:
        said = orjson.dumps(self._error(fault, request_id))
        return b"event: error\ndata: " + said + b"\n\n"

    def _error(self, fault: RequestError, request_id: str) -> dict[str, Any]:
        kind = _ERRORS.get(fault.status, "api_error")
        error = {"type": kind, "message": str(fault)}
        return {"type": "error", "error": error, "request_id": request_id}


def _read_message(tally: Tally, message: dict[str, Any], where: str) -> None:
    role = string(message, "role", where)
    content = message.get("content")
    if isinstance(content, str):
        tally.say(role, content)
        return
    texts: list[str] = []
    result = False
    for i, block in enumerate(objects(content, f"{where}.content")):
        kind = string(block, "type", f"{where}.content[{i}]")
        if kind == "text":
            texts.append(string(block, "text", f"{where}.content[{i}]"))
        elif kind in _MEDIA or kind.endswith("tool_result"):  # a client's, or the API's own
            result = result or kind == "tool_result"
            _attachments(tally, block)
        elif kind.endswith("tool_use"):
            tally.needs.add(base.TOOLS)
    # a tool that speaks in the user's name is no turn of the user's: that is an earlier one
    if texts or not result:
        tally.say(role, "\n".join(texts))
    if result:
        tally.result()


def _attachments(tally: Tally, value: object, depth: int = 8) -> None:
    """Pictures and files: a block that is one, and those in what a tool gave back.

    As deep as the API puts them: what a caller nests further counts as text.
    """
    if isinstance(value, list) and depth:
        for each in value:
            _attachments(tally, each, depth - 1)
    if not isinstance(value, dict) or not depth:
        return
    need, source = _MEDIA.get(str(value.get("type"))), value.get("source")
    if need is None:
        _attachments(tally, value.get("content"), depth - 1)
    elif isinstance(source, dict) and source.get("type") in {"text", "content"}:
        tally.attach(need, None)  # a document of plain text, as long to read as any
        _attachments(tally, source.get("content"), depth - 1)
    else:
        tally.attach(need, source)


def _usage_of(holder: object) -> Usage | None:
    usage = holder.get("usage") if isinstance(holder, dict) else None
    return _usage(usage) if isinstance(usage, dict) else None


def _usage(usage: dict[str, Any]) -> Usage:
    """Anthropic counts what the cache gave and took beside ``input_tokens``: here it is within."""
    fresh = count(usage.get("input_tokens"))
    cached = count(usage.get("cache_read_input_tokens"))
    written = count(usage.get("cache_creation_input_tokens"))
    return Usage(
        input_tokens=None if fresh is None else fresh + (cached or 0) + (written or 0),
        cached_tokens=cached,
        output_tokens=count(usage.get("output_tokens")),
        reasoning_tokens=detail(usage, "output_tokens_details", "thinking_tokens"),
        written_tokens=written,
    )
