"""What a whole answer says, in the words of no API: for a check before it is passed on.

:func:`said` reads an unstreamed body or all the events of a stream. Pure, and never
raises: an answer that cannot be read says nothing, and that is what the check sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import orjson

from sidecar.sse import Framer

# Each API's word for an ending that cut the answer, to the one used here.
_ENDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "length": "length",
        "max_tokens": "length",
        "max_output_tokens": "length",
        "model_context_window_exceeded": "length",
        "content_filter": "filtered",
        "refusal": "refused",
    }
)


@dataclass(slots=True)
class Said:
    """An answer's substance."""

    text: str = field(default="", repr=False)
    acts: bool = False  # it calls a tool
    refused: bool = False  # the API itself says that the model declined
    end: str = ""  # "length" | "filtered" | "refused" where it ended so, else ""
    logprobs: list[float] = field(default_factory=list)  # of its tokens, where there are any


def said(dialect: str, body: bytes, *, streaming: bool) -> Said:
    """What ``body`` says, a whole answer of ``dialect`` as it came."""
    answer = Said()
    for part in _parts(body, streaming=streaming):
        try:
            _READERS[dialect](answer, part)
        except (KeyError, TypeError, AttributeError, ValueError):
            continue  # of a shape that no API has: it says nothing
    return answer


def _parts(body: bytes, *, streaming: bool) -> Iterable[dict[str, Any]]:
    whole = Framer(max_event=len(body) + 1).feed(body + b"\n\n") if streaming else [body]
    for data in whole:
        try:
            part = orjson.loads(data)
        except orjson.JSONDecodeError:
            continue
        if isinstance(part, dict):
            yield part


def _completion(answer: Said, part: dict[str, Any]) -> None:
    """Chat completions and completions, whole or a chunk."""
    for choice in part.get("choices") or ():
        if choice.get("index"):  # of several, the first is what is read
            continue
        message = choice.get("message") or choice.get("delta") or {}
        answer.text += choice.get("text") or message.get("content") or ""
        answer.acts |= bool(message.get("tool_calls") or message.get("function_call"))
        answer.acts |= bool(message.get("audio"))
        answer.refused |= bool(message.get("refusal"))
        answer.end = _ENDS.get(choice.get("finish_reason") or "", answer.end)
        found = (choice.get("logprobs") or {}).get("content") or ()
        answer.logprobs += [float(token["logprob"]) for token in found]


def _messages(answer: Said, part: dict[str, Any]) -> None:
    kind = part.get("type")
    if kind == "message":
        for block in part["content"]:
            answer.text += block.get("text") or ""
            answer.acts |= block["type"].endswith("tool_use")
        answer.end = _ENDS.get(part.get("stop_reason") or "", answer.end)
    elif kind == "content_block_start":
        block = part["content_block"]
        answer.text += block.get("text") or ""
        answer.acts |= block["type"].endswith("tool_use")
    elif kind == "content_block_delta":
        answer.text += part["delta"].get("text") or ""
    elif kind == "message_delta":
        answer.end = _ENDS.get(part["delta"].get("stop_reason") or "", answer.end)


def _responses(answer: Said, part: dict[str, Any]) -> None:
    """The whole response, which a stream's last event carries too."""
    whole = part.get("response") if "response" in part else part
    if not isinstance(whole, dict) or whole.get("status") not in {"completed", "incomplete"}:
        return
    for item in whole.get("output") or ():
        answer.acts |= "call" in item["type"]
        for piece in item.get("content") or ():
            answer.text += piece.get("text") or ""
            answer.refused |= piece.get("type") == "refusal"
            answer.logprobs += [float(token["logprob"]) for token in piece.get("logprobs") or ()]
    why = (whole.get("incomplete_details") or {}).get("reason")
    answer.end = _ENDS.get(why or "", answer.end)


_READERS: Final = MappingProxyType(
    {
        "chat": _completion,
        "completions": _completion,
        "messages": _messages,
        "responses": _responses,
    }
)
READABLE: Final = frozenset(_READERS)
