"""What OpenAI's APIs share: their errors, and the shape of a completion's stream."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from sidecar.dialects.base import Event
from sidecar.dialects.body import with_flag
from sidecar.dialects.reading import completion_usage
from sidecar.errors import RequestError
from sidecar.types import Edit, Usage

_KEY: Final = b'"usage"'
_COUNTS: Final = re.compile(rb'"usage"\s*:\s*\{')
_NO_CHOICE: Final[frozenset[int]] = frozenset()
_FINISH: Final = b'"finish_reason"'
_COLON: Final = 0x3A
_QUOTE: Final = 0x22
_SPACE: Final = 0x20  # and what stands before it: line ends and tabs


class OpenAI:
    """The base of OpenAI's dialects."""

    family = "openai"

    def usage_edit(self, raw: bytes, body: dict[str, Any]) -> Edit | None:
        return None

    def glimpse(self, head: bytes, tail: bytes) -> Event:
        return Event(content=True)  # nothing is so large but what the app is to see

    def answer_id(self, answer: bytes) -> str:
        return ""

    def error(self, fault: RequestError, request_id: str) -> bytes:
        said = {
            "message": str(fault),
            "type": fault.kind,
            "param": fault.param,
            "code": fault.code,
            "request_id": request_id,
        }
        return orjson.dumps({"error": said})

    def error_event(self, fault: RequestError, request_id: str, last: bytes = b"") -> bytes:
        return b"data: " + self.error(fault, request_id) + b"\n\n"


class Completion(OpenAI):
    """The answers of chat completions and of completions: choices, and one usage."""

    def usage_edit(self, raw: bytes, body: dict[str, Any]) -> Edit | None:
        options = body.get("stream_options") or {}
        if body.get("stream") is not True or options.get("include_usage") is True:
            return None
        return with_flag(raw, body, "stream_options", "include_usage")

    def tells(self, data: bytes) -> bool:
        # `in` takes its left side for a number first, and drops an exception: the dearer half
        return (
            data.find(b"[DONE]") >= 0
            or (data.find(b'"usage"') >= 0 and _COUNTS.search(data) is not None)
            or data.find(b'"error"') >= 0
            or _finishes(data)
        )

    def event(self, data: bytes) -> Event:
        if data.startswith(b"[DONE]"):  # as the official client has it, whatever follows
            return Event(done=True)
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            return Event()
        if not isinstance(chunk, dict):
            return Event()
        if chunk.get("error") is not None:
            return Event(error=True)
        usage = chunk.get("usage")
        choices = chunk.get("choices")
        return Event(
            content=_has_content(choices),
            finished=_finished(choices),
            usage=completion_usage(usage) if isinstance(usage, dict) else None,
        )

    def usage(self, answer: bytes) -> Usage:
        usage = answer_usage(answer)
        return completion_usage(usage) if usage else Usage()


def answer_usage(answer: bytes) -> dict[str, Any] | None:
    """The usage object of a whole answer, if it has one.

    It stands near the end, so that end is read first: where it is all of an object but its
    beginning, the key is of the answer itself, whatever came before it.
    """
    at = answer.rfind(_KEY)
    if at > 0:
        try:
            usage = orjson.loads(b"{" + answer[at:])["usage"]
        except orjson.JSONDecodeError:  # it stands deeper, or is a word of the text
            pass
        else:
            return usage if isinstance(usage, dict) else None
    try:
        usage = orjson.loads(answer)["usage"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return usage if isinstance(usage, dict) else None


def _finishes(data: bytes) -> bool:
    """Whether a ``finish_reason`` that is a string stands in ``data``."""
    at = data.find(_FINISH)
    while at >= 0:
        at += len(_FINISH)
        colons, end = 0, len(data)
        while at < end:
            byte = data[at]
            if byte == _QUOTE and colons == 1:
                return True
            if byte == _COLON:
                colons += 1
            elif byte > _SPACE:
                break
            at += 1
        at = data.find(_FINISH, at)
    return False


def _has_content(choices: object) -> bool:
    """Whether a chunk carries something the app would show or act on.

    A first chunk that only names the role, and keep-alive chunks without
    choices, are not content: a stalled stream sends those for ever.
    """
    if not isinstance(choices, list):
        return False
    for choice in choices:
        if not isinstance(choice, dict):
            continue
        if choice.get("finish_reason") or choice.get("text"):
            return True
        delta = choice.get("delta")
        if isinstance(delta, dict) and any(v for k, v in delta.items() if k != "role"):
            return True
    return False


def _finished(choices: object) -> frozenset[int]:
    """The choices of which a chunk names why they ended: some upstreams send no ``[DONE]``."""
    if not isinstance(choices, list):
        return _NO_CHOICE
    return frozenset(
        index if type(index := choice.get("index")) is int else at
        for at, choice in enumerate(choices)
        if isinstance(choice, dict) and choice.get("finish_reason")
    )
