"""OpenAI completions: a prompt and its continuation, older than chat and still spoken."""

from __future__ import annotations

from typing import Any, Final

from sidecar.dialects.base import Asked
from sidecar.dialects.openai import Completion
from sidecar.dialects.reading import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    Tally,
    Types,
    check,
)
from sidecar.errors import BadRequest

_TYPES: Final[Types] = {
    "max_tokens": INTEGER,
    "temperature": NUMBER,
    "top_p": NUMBER,
    "n": INTEGER,
    "best_of": INTEGER,
    "stream": BOOLEAN,
    "logprobs": INTEGER,
    "echo": BOOLEAN,
    "suffix": STRING,
    "user": STRING,
    "stop": ((str, list), "a string or an array"),
    "stream_options": OBJECT,
    "logit_bias": OBJECT,
}


class CompletionsDialect(Completion):
    """``POST /v1/completions``."""

    name = "completions"
    path = "/completions"

    def read(self, body: dict[str, Any]) -> Asked:
        check(body, _TYPES)
        tally = Tally()
        tally.say("user", prompt_text(body.get("prompt"), "prompt"))
        tally.messages = 1
        return tally.asked(body, body.get("max_tokens"))


def prompt_text(prompt: object, where: str) -> str:
    """A string, or strings as one text; token ids have no text, but are a prompt."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list) and prompt:
        if all(isinstance(part, str) for part in prompt):
            return "\n".join(prompt)
        if all(isinstance(part, int | list) and not isinstance(part, bool) for part in prompt):
            return ""
    raise BadRequest(
        f"`{where}` must be a string, or a non-empty array of strings or of tokens.", param=where
    )
