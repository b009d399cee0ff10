"""The mock's side of OpenAI's chat completions: checks, bodies, stream events.

Pure: a body in, bytes out. What the public API refuses is refused here in the
same shape, so that a client's own error types come out.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from sidecar.demo import tokens
from sidecar.demo.answers import Answer
from sidecar.demo.roster import MockModel
from sidecar.errors import SidecarError

# Where a text and a JSON text are cut into deltas; the pieces joined are the whole.
_WORDS: Final = re.compile(r"\s*\S+|\s+$")
_JSON_CUTS: Final = re.compile(r'[^\s,:"]*[\s,:"]+|[^\s,:"]+')
_FINGERPRINT: Final = "fp_mock"


class Refusal(SidecarError):
    """A request that the mock will not answer, as OpenAI would say it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code

    def body(self) -> bytes:
        fault = {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}
        return orjson.dumps({"error": fault})


@dataclass(frozen=True, slots=True)
class Bill:
    """The tokens of one exchange, as its usage will state them."""

    prompt: int
    cached: int
    completion: int

    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream, and how many tokens of the answer are out once it is."""

    data: bytes  # framed, ready to send
    tokens: float


def read(raw: bytes) -> dict[str, Any]:
    """The body as a checked object; :class:`Refusal` where it is not a chat request."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Refusal(400, "We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise Refusal(400, "you must provide a model parameter", param="model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "'messages' must be a non-empty array", param="messages")
    for i, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Refusal(400, f"'messages[{i}]' must be an object with a role", param="messages")
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        if any(not isinstance(part, dict) for part in parts):
            raise Refusal(400, f"'messages[{i}].content' has a bad part", param="messages")
    _check_tools(body)
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema" and not isinstance(form.get("json_schema"), dict):
        raise Refusal(400, "'response_format.json_schema' is required", param="response_format")
    return body


def _check_tools(body: Mapping[str, Any]) -> None:
    names = set()
    for i, tool in enumerate(body.get("tools") or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Refusal(400, f"'tools[{i}].function.name' is required", param="tools")
        names.add(function["name"])
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        wanted = (choice.get("function") or {}).get("name")
        if wanted not in names:
            raise Refusal(400, f"tool_choice names {wanted!r}, not offered", param="tool_choice")
    elif choice == "required" and not names:
        raise Refusal(400, "tool_choice is required, but no tools are offered", param="tools")


def admit(model: MockModel, body: Mapping[str, Any], prompt: int) -> None:
    """Refuse what this model cannot do: a router should never have sent it."""
    contents = [m["content"] for m in body["messages"] if isinstance(m.get("content"), list)]
    if not model.vision and any(p.get("type") == "image_url" for c in contents for p in c):
        raise Refusal(400, f"{model.name} does not accept images", param="messages")
    if not model.tools and body.get("tools"):
        raise Refusal(400, f"{model.name} does not support tools", param="tools")
    form = body.get("response_format") or {}
    if not model.json_schema and form.get("type") == "json_schema":
        raise Refusal(400, f"{model.name} does not support json_schema", param="response_format")
    room = prompt + (body.get("max_completion_tokens") or body.get("max_tokens") or 0)
    if room > model.context:
        message = f"This model's maximum context length is {model.context} tokens; got {room}."
        raise Refusal(400, message, param="messages", code="context_length_exceeded")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with what its envelope needs."""

    answer: Answer
    bill: Bill
    model: str
    id: str
    created: int
    choices: int = 1
    include_usage: bool = False
    delta_words: int = 1

    def body(self) -> bytes:
        """The whole answer, unstreamed."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if self.answer.calls else self.answer.text,
            "refusal": None,
        }
        if self.answer.calls:
            message["tool_calls"] = [
                {
                    "id": self.call_id(i),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for i, call in enumerate(self.answer.calls)
            ]
        choices = [
            {"index": i, "message": message, "logprobs": None, "finish_reason": self.answer.finish}
            for i in range(self.choices)
        ]
        head = self._head("chat.completion")
        return orjson.dumps({**head, "choices": choices, "usage": self.bill.usage()})

    def events(self) -> Iterator[Event]:
        """The answer as the events of a stream, the closing ``[DONE]`` included."""
        role: dict[str, Any] = {"role": "assistant", "refusal": None}
        role["content"] = None if self.answer.calls else ""
        yield self._chunk(role, None, 0)
        out = 0.0
        for i, call in enumerate(self.answer.calls):
            yield self._chunk(self._opening(i, call.name), None, out)
            for piece in _JSON_CUTS.findall(call.arguments):
                out += len(piece.encode()) / tokens.BYTES_PER_TOKEN
                yield self._chunk(_arguments(i, piece), None, out)
        words = _WORDS.findall(self.answer.text)
        for at in range(0, len(words), self.delta_words):
            piece = "".join(words[at : at + self.delta_words])
            out += len(piece.encode()) / tokens.BYTES_PER_TOKEN
            yield self._chunk({"content": piece}, None, out)
        yield self._chunk({}, self.answer.finish, out)
        if self.include_usage:
            last = {**self._head("chat.completion.chunk"), "choices": []}
            last["usage"] = self.bill.usage()
            yield Event(b"data: " + orjson.dumps(last) + b"\n\n", out)
        yield Event(b"data: [DONE]\n\n", out)

    def call_id(self, i: int) -> str:
        return f"call_{self.id.removeprefix('chatcmpl-')}{i}"

    def _opening(self, i: int, name: str) -> dict[str, Any]:
        function = {"name": name, "arguments": ""}
        call = {"index": i, "id": self.call_id(i), "type": "function", "function": function}
        return {"tool_calls": [call]}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": _FINGERPRINT,
        }

    def _chunk(self, delta: dict[str, Any], finish: str | None, out: float) -> Event:
        data = b""
        for index in range(self.choices):
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
            chunk = {**self._head("chat.completion.chunk"), "choices": [choice]}
            if self.include_usage:
                chunk["usage"] = None
            data += b"data: " + orjson.dumps(chunk) + b"\n\n"
        return Event(data, out)


def _arguments(i: int, text: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": i, "function": {"arguments": text}}]}


def reply(
    model: MockModel, answer: Answer, bill: Bill, body: Mapping[str, Any], *, raw: bytes, nth: int
) -> Reply:
    """The answer to request number ``nth`` in its envelope."""
    digest = hashlib.blake2b(raw, digest_size=8, salt=nth.to_bytes(8, "big")).hexdigest()
    options = body.get("stream_options") or {}
    return Reply(
        answer=answer,
        bill=bill,
        model=model.name,
        id=f"chatcmpl-{digest}",
        created=int(time.time()),
        choices=body.get("n") or 1,
        include_usage=options.get("include_usage") is True,
        delta_words=model.delta_words,
    )
