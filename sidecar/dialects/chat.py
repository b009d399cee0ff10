"""OpenAI chat completions: the lingua franca.

Reads what a request asks and needs, checks the types of all it reads so that a
wrong one is answered here with a sentence, and leaves every field it does not
know to the upstream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from sidecar.dialects import base
from sidecar.dialects.base import Asked, Event
from sidecar.errors import BadRequest, RequestError
from sidecar.types import Prompt, Usage

# What a content part of each type is to the capability mask; "" is plain text.
_PARTS: Final[Mapping[str, str]] = {
    "text": "",
    "refusal": "",
    "image_url": base.VISION,
    "video_url": base.VISION,
    "input_audio": base.AUDIO,
    "file": base.FILES,
}
_NUMBER: Final = (int, float)
# Fields that the router does not act on but whose type the API fixes: a wrong
# one is refused here, in one voice, whichever upstream would have had it.
_TYPES: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "temperature": (_NUMBER, "a number"),
    "top_p": (_NUMBER, "a number"),
    "presence_penalty": (_NUMBER, "a number"),
    "frequency_penalty": (_NUMBER, "a number"),
    "n": ((int,), "an integer"),
    "seed": ((int,), "an integer"),
    "top_logprobs": ((int,), "an integer"),
    "max_tokens": ((int,), "an integer"),
    "max_completion_tokens": ((int,), "an integer"),
    "stop": ((str, list), "a string or an array"),
    "stream": ((bool,), "a boolean"),
    "logprobs": ((bool,), "a boolean"),
    "parallel_tool_calls": ((bool,), "a boolean"),
    "user": ((str,), "a string"),
    "reasoning_effort": ((str,), "a string"),
    "tools": ((list,), "an array"),
    "functions": ((list,), "an array"),
    "tool_choice": ((str, dict), "a string or an object"),
    "response_format": ((dict,), "an object"),
    "stream_options": ((dict,), "an object"),
    "logit_bias": ((dict,), "an object"),
    "metadata": ((dict,), "an object"),
    "modalities": ((list,), "an array"),
}


class ChatDialect:
    """``POST /v1/chat/completions``."""

    name = "chat"
    path = "/chat/completions"
    family = "openai"
    # found in every event that matters, whatever white space its writer likes
    telling = re.compile(rb'"usage"\s*:\s*\{|"error"\s*:|^\[DONE\]|"finish_reason"\s*:\s*"')

    def read(self, body: dict[str, Any]) -> Asked:
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise BadRequest("`model` must be a non-empty string.", param="model")
        for key, value in body.items():
            known = _TYPES.get(key)
            if known and value is not None and not _is(value, known[0]):
                raise BadRequest(f"`{key}` must be {known[1]}.", param=key)
        tally = _Tally()
        tally.read_messages(body.get("messages"))
        tally.read_tools(body)
        return Asked(
            model=model,
            stream=body.get("stream") is True,
            prompt=Prompt(
                system=tally.system,
                user=tally.user if tally.turns else tally.last,
                turns=max(1, tally.turns),
                tools=tally.tools,
                media=tally.media,
            ),
            needs=frozenset(tally.needs),
            media_bytes=tally.media_bytes,
            messages=tally.messages,
            max_output_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        )

    def event(self, data: bytes) -> Event:
        if data == b"[DONE]":
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
            done=_is_finished(choices),
            usage=_usage(usage) if isinstance(usage, dict) else None,
        )

    def usage(self, answer: bytes) -> Usage:
        try:
            usage = orjson.loads(answer)["usage"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return Usage()
        return _usage(usage) if isinstance(usage, dict) else Usage()

    def error(self, fault: RequestError, request_id: str) -> bytes:
        said = {
            "message": str(fault),
            "type": fault.kind,
            "param": fault.param,
            "code": fault.code,
            "request_id": request_id,
        }
        return orjson.dumps({"error": said})

    def error_event(self, fault: RequestError, request_id: str) -> bytes:
        return b"data: " + self.error(fault, request_id) + b"\n\n"


class _Tally:
    """One pass over the messages and tools, gathering what the router needs."""

    def __init__(self) -> None:
        self.system = ""
        self.user = ""
        self.last = ""
        self.turns = 0
        self.messages = 0
        self.tools = 0
        self.media = 0
        self.media_bytes = 0
        self.needs: set[str] = set()

    def read_messages(self, messages: object) -> None:
        if not isinstance(messages, list) or not messages:
            raise BadRequest(
                "`messages` must be a non-empty array of message objects.", param="messages"
            )
        self.messages = len(messages)
        for i, message in enumerate(messages):
            where = f"messages[{i}]"
            if not isinstance(message, dict):
                raise BadRequest(f"`{where}` must be an object.", param=where)
            role = message.get("role")
            if not isinstance(role, str):
                raise BadRequest(f"`{where}.role` must be a string.", param=f"{where}.role")
            acts = message.get("tool_calls") or message.get("function_call")
            if role in {"tool", "function"} or acts:
                self.needs.add(base.TOOLS)
            text = self._text(message, where, optional=bool(acts))
            self.last = text or self.last
            if role == "user":
                self.user = text
                self.turns += 1
            elif role in {"system", "developer"}:
                self.system = f"{self.system}\n{text}" if self.system else text

    def _text(self, message: dict[str, Any], where: str, *, optional: bool) -> str:
        content = message.get("content")
        where = f"{where}.content"
        if isinstance(content, str):
            return content
        if isinstance(content, list):
            return "\n".join(filter(None, (self._part(p, where, i) for i, p in enumerate(content))))
        if content is None:
            if optional or (
                message["role"] == "assistant" and (message.get("refusal") or message.get("audio"))
            ):
                return ""
            raise BadRequest(
                f"`{where}` is null or missing. Send a string or an array of content parts.",
                param=where,
            )
        raise BadRequest(f"`{where}` must be a string or an array of content parts.", param=where)

    def _part(self, part: object, where: str, i: int) -> str:
        where = f"{where}[{i}]"
        if not isinstance(part, dict):
            raise BadRequest(f"`{where}` must be an object with a `type`.", param=where)
        kind = part.get("type")
        need = _PARTS.get(kind) if isinstance(kind, str) else None
        if need is None:
            raise BadRequest(
                f"`{where}.type` is not a known content part. Use one of: {', '.join(_PARTS)}.",
                param=f"{where}.type",
            )
        if need:
            self.needs.add(need)
            self.media += 1
            self.media_bytes += _media_size(part.get(str(kind)))
            return ""
        text = part.get(str(kind))
        if not isinstance(text, str):
            raise BadRequest(f"`{where}.{kind}` must be a string.", param=f"{where}.{kind}")
        return text

    def read_tools(self, body: dict[str, Any]) -> None:
        for key in ("tools", "functions"):
            offered = body.get(key)
            if not offered:
                continue
            for i, tool in enumerate(offered):
                if not isinstance(tool, dict):
                    raise BadRequest(f"`{key}[{i}]` must be an object.", param=f"{key}[{i}]")
            self.tools += len(offered)
            self.needs.add(base.TOOLS)
        form = body.get("response_format")
        if form:
            kind = form.get("type")
            if not isinstance(kind, str):
                raise BadRequest(
                    "`response_format.type` must be a string.", param="response_format.type"
                )
            if kind == "json_schema":
                self.needs.add(base.JSON_SCHEMA)
        if "audio" in (body.get("modalities") or ()):
            self.needs.add(base.AUDIO)


def _is(value: object, types: tuple[type, ...]) -> bool:
    # bool is an int to Python but not to the API
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _media_size(value: object) -> int:
    """The bytes that a picture, clip or file takes in the body, as text."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(v) for v in value.values() if isinstance(v, str))
    return 0


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


def _is_finished(choices: object) -> bool:
    """Whether a chunk names why the answer ended: some upstreams send no ``[DONE]``."""
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and choice.get("finish_reason") for choice in choices
    )


def _usage(usage: dict[str, Any]) -> Usage:
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(
        input_tokens=_count(usage.get("prompt_tokens")),
        cached_tokens=_count(cached),
        output_tokens=_count(usage.get("completion_tokens")),
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
