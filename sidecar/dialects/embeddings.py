"""OpenAI embeddings: texts in, vectors out, never streamed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from sidecar.dialects.base import Asked, Event
from sidecar.dialects.completions import largest, prompt_text, tokens_of
from sidecar.dialects.openai import OpenAI, answer_usage
from sidecar.dialects.reading import INTEGER, STRING, Tally, Types, check, count
from sidecar.types import Usage

_TYPES: Final[Types] = {"dimensions": INTEGER, "encoding_format": STRING, "user": STRING}


class EmbeddingsDialect(OpenAI):
    """``POST /v1/embeddings``."""

    name = "embeddings"
    path = "/embeddings"

    def tells(self, data: bytes) -> bool:
        return False  # there is no stream to follow

    def read(self, body: dict[str, Any]) -> Asked:
        check(body, _TYPES)
        tally = Tally()
        tally.say("user", prompt_text(body.get("input"), "input"))
        tally.messages = 1
        tally.largest_tokens = largest(body.get("input"))
        asked = tally.asked(body, 0, stream=False)
        return replace(asked, tokens=tokens_of(body.get("input")))

    def event(self, data: bytes) -> Event:
        return Event()

    def usage(self, answer: bytes) -> Usage:
        usage = answer_usage(answer)
        if usage is None:
            return Usage()
        return Usage(input_tokens=count(usage.get("prompt_tokens")), output_tokens=0)
