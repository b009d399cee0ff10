"""OpenAI chat completions: the lingua franca.

Reads what a request asks and needs, checks the types of all it reads so that a
wrong one is answered here with a sentence, and leaves every field it does not
know to the upstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sidecar.dialects import base
from sidecar.dialects.base import Asked
from sidecar.dialects.openai import Completion
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
    objects,
    string,
)
from sidecar.errors import BadRequest

# What a content part of each type is to the capability mask; "" is plain text.
_PARTS: Final[Mapping[str, str]] = {
    "text": "",
    "refusal": "",
    "image_url": base.VISION,
    "video_url": base.VISION,
    "audio_url": base.AUDIO,
    "input_audio": base.AUDIO,
    "file": base.FILES,
    "document_url": base.FILES,
}
# What a part of a type that is not known here would need, by a word of its name.
_WORDS: Final[Mapping[str, str]] = {
    "image": base.VISION,
    "video": base.VISION,
    "audio": base.AUDIO,
    "file": base.FILES,
    "document": base.FILES,
}
_SPEAKERS: Final = ("user", "assistant", "system", "developer")
# Fields that the router does not act on but whose type the API fixes: a wrong
# one is refused here, in one voice, whichever upstream would have had it.
_TYPES: Final[Types] = {
    "temperature": NUMBER,
    "top_p": NUMBER,
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "n": INTEGER,
    "seed": INTEGER,
    "top_logprobs": INTEGER,
    "max_tokens": INTEGER,
    "max_completion_tokens": INTEGER,
    "stop": ((str, list), "a string or an array"),
    "stream": BOOLEAN,
    "logprobs": BOOLEAN,
    "parallel_tool_calls": BOOLEAN,
    "user": STRING,
    "reasoning_effort": STRING,
    "tools": ARRAY,
    "functions": ARRAY,
    "tool_choice": ((str, dict), "a string or an object"),
    "response_format": OBJECT,
    "stream_options": OBJECT,
    "logit_bias": OBJECT,
    "metadata": OBJECT,
    "modalities": ARRAY,
}


class ChatDialect(Completion):
    """``POST /v1/chat/completions``."""

    name = "chat"
    path = "/chat/completions"

    def read(self, body: dict[str, Any]) -> Asked:
        check(body, _TYPES)
        tally = Tally()
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadRequest(
                "`messages` must be a non-empty array of message objects.", param="messages"
            )
        tally.messages = len(messages)
        for i, message in enumerate(objects(messages, "messages")):
            role, content = message.get("role"), message.get("content")
            if len(message) == 2 and role in _SPEAKERS and type(content) is str:
                tally.say(role, content)  # nearly every message: nothing else to look at
            else:
                _read_message(tally, message, f"messages[{i}]")
        tally.offer(body.get("tools"), "tools")
        tally.offer(body.get("functions"), "functions")
        form = body.get("response_format")
        if form and string(form, "type", "response_format") == "json_schema":
            tally.needs.add(base.JSON_SCHEMA)
        if "audio" in (body.get("modalities") or ()):
            tally.needs.add(base.AUDIO)
        tally.choices = max(1, body.get("n") or 1)
        return tally.asked(body, body.get("max_completion_tokens") or body.get("max_tokens"))


def _read_message(tally: Tally, message: dict[str, Any], where: str) -> None:
    role = string(message, "role", where)
    acts = bool(message.get("tool_calls") or message.get("function_call"))
    content = message.get("content")
    where = f"{where}.content"
    if isinstance(content, str):
        tally.say(role, content)
    elif isinstance(content, list):
        texts = (_read_part(tally, p, f"{where}[{i}]") for i, p in enumerate(content))
        tally.say(role, "\n".join(filter(None, texts)))
    elif content is not None:
        raise BadRequest(f"`{where}` must be a string or an array of content parts.", param=where)
    elif acts or (role == "assistant" and _says_otherwise(message)):
        tally.say(role, "")
    else:
        raise BadRequest(
            f"`{where}` is null or missing. Send a string or an array of content parts.",
            param=where,
        )
    if acts:
        tally.act()
    elif role in {"tool", "function"}:
        tally.result()


def _says_otherwise(message: Mapping[str, Any]) -> bool:
    """Whether an assistant's message without content holds something else: a refusal, audio,
    or a field that only some upstreams have, as the reasoning before a call."""
    return any(value for key, value in message.items() if key not in {"role", "content", "name"})


def _read_part(tally: Tally, part: object, where: str) -> str:
    """The text of one content part; a picture, clip or file is noted.

    A type that is not known here is the upstream's affair, as a field is.
    """
    if not isinstance(part, dict):
        raise BadRequest(f"`{where}` must be an object with a `type`.", param=where)
    kind = string(part, "type", where)
    need = _PARTS.get(kind)
    if need is None:
        need = next((need for word, need in _WORDS.items() if word in kind), None)
        if need is None:
            return ""
    if need:
        tally.attach(need, part.get(kind))
        return ""
    return string(part, kind, where)
