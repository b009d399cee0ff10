"""The seam between API formats and the rest.

A dialect reads one API's request into a :class:`~sidecar.types.Call`, knows how
that API's stream begins to have content, where its usage stands, and how its
errors look. It does no I/O. A new dialect is one new file and one line in
``dialects/__init__.py``.
"""

from __future__ import annotations

from typing import Protocol

from sidecar.errors import RequestError
from sidecar.frozen import dataclass
from sidecar.types import Edit, Prompt, Usage

# Capabilities that a request may need and a model may declare.
TOOLS = "tools"
JSON_SCHEMA = "json_schema"
VISION = "vision"
AUDIO = "audio"
FILES = "files"
CAPABILITIES = (TOOLS, JSON_SCHEMA, VISION, AUDIO, FILES)


@dataclass(frozen=True, slots=True)
class Asked:
    """What one body asks, in the words of no API."""

    model: str
    stream: bool
    prompt: Prompt
    needs: frozenset[str]
    media_bytes: int  # of the body that are images, audio or files, not text
    messages: int
    max_output_tokens: int | None
    temperature: float | None = None
    stateful: bool = False  # it continues or leaves something at the upstream
    continues: str | None = None  # the id of the answer that it goes on with
    largest_tokens: int | None = None  # a bound, where it is several inputs at once
    choices: int = 1  # answers at once, each up to ``max_output_tokens``
    tokens: int | None = None  # of an input that is tokens already; None where it is text


@dataclass(frozen=True, slots=True)
class Event:
    """What one event of a stream says, as far as the router cares."""

    content: bool = False  # something that the app would show or act on
    done: bool = False  # the answer is whole: its end has come
    finished: frozenset[int] = frozenset()  # choices of it that have named the reason of theirs
    error: bool = False
    usage: Usage | None = None
    answer_id: str = ""  # under which the upstream keeps the answer


class Dialect(Protocol):
    """One API format."""

    name: str
    path: str  # below the upstream's base URL, and below /v1 here
    family: str  # "openai" or "anthropic": what an upstream declares to speak

    def read(self, body: dict[str, object]) -> Asked:
        """What the body asks; :class:`~sidecar.errors.BadRequest` where it cannot be read."""
        ...

    def usage_edit(self, raw: bytes, body: dict[str, object]) -> Edit | None:
        """The edit of a streamed request that makes the upstream count its tokens.

        None where the app asked for the count itself, or the API needs no asking.
        """
        ...

    def tells(self, data: bytes) -> bool:
        """Whether an event that ends, counts or breaks a stream may stand in ``data``.

        True for all of those, whatever white space their writer likes; quick, for it is asked
        of every piece of every stream.
        """
        ...

    def event(self, data: bytes) -> Event:
        """What one stream event's data says. Never raises: garbage is an empty event."""
        ...

    def glimpse(self, head: bytes, tail: bytes) -> Event:
        """What one event says that is too large to be read, by its two ends as they came."""
        ...

    def usage(self, answer: bytes) -> Usage:
        """The tokens that a whole, unstreamed answer reports."""
        ...

    def answer_id(self, answer: bytes) -> str:
        """The id under which the upstream keeps a whole answer; "" where none can be named."""
        ...

    def error(self, fault: RequestError, request_id: str) -> bytes:
        """An error body as this API's clients expect it."""
        ...

    def error_event(self, fault: RequestError, request_id: str, last: bytes = b"") -> bytes:
        """An error in the middle of a stream: framed, ready to send.

        ``last`` are the latest bytes of the stream before it, its last event among them.
        """
        ...


def text_bound(size: int) -> int:
    """An upper bound of the tokens of so many bytes of text."""
    return size // 3


def input_bound(body_bytes: int, asked: Asked) -> int:
    """An upper bound of the input's tokens, from byte counts alone.

    Three bytes a token bounds prose and code in the tokenizers of today's
    models from above, and a CJK character is three bytes; each message costs
    its few framing tokens, and each picture, clip or file is taken as 1,500. Where tokens
    came themselves, it is as far above their number as it is above that of a text's: a third.
    """
    if asked.tokens is not None:
        return -(-asked.tokens * 4 // 3)
    text = max(0, body_bytes - asked.media_bytes)
    return text_bound(text) + 4 * asked.messages + 1500 * asked.prompt.media


__all__ = [
    "AUDIO",
    "CAPABILITIES",
    "FILES",
    "JSON_SCHEMA",
    "TOOLS",
    "VISION",
    "Asked",
    "Dialect",
    "Event",
    "input_bound",
    "text_bound",
]
