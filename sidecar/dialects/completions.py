"""OpenAI completions: a prompt and its continuation, older than chat and still spoken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from sidecar.dialects.base import Asked, text_bound
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
        # null is a prompt too: the model begins a text of its own
        null = "prompt" in body and body["prompt"] is None
        tally.say("user", "" if null else prompt_text(body.get("prompt"), "prompt"))
        tally.messages = 1
        tally.largest_tokens = largest(body.get("prompt"))
        # of `best_of` drafts all are charged for; a stream has none but those it sends
        drafts = 0 if body.get("stream") is True else body.get("best_of") or 0
        tally.choices = max(1, body.get("n") or 1, drafts) * prompts(body.get("prompt"))
        asked = tally.asked(body, body.get("max_tokens"))
        return replace(asked, tokens=tokens_of(body.get("prompt")))


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


def prompts(prompt: object) -> int:
    """How many prompts there are, each with answers of its own."""
    if isinstance(prompt, list) and isinstance(prompt[0], str | list):
        return len(prompt)
    return 1


def tokens_of(prompt: object) -> int | None:
    """How many tokens a prompt is, or several together, that came as tokens; None for text."""
    if not isinstance(prompt, list) or isinstance(prompt[0], str):
        return None
    return sum(len(each) if isinstance(each, list) else 1 for each in prompt)


def largest(prompt: object) -> int | None:
    """A bound of the tokens of the largest of several prompts, or of one that is tokens
    already; None where it is one text."""
    if not isinstance(prompt, list):
        return None
    if not isinstance(prompt[0], str | list):
        return len(prompt)
    return max(
        len(each)
        if isinstance(each, list)
        else 4 + text_bound(len(each.encode("utf-8", "surrogatepass")))
        for each in prompt
        if isinstance(each, str | list)
    )
