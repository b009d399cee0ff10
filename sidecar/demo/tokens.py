"""How the mock counts tokens, and what it remembers of prompts for its cache.

The rule, stated so that a test can do the sum by hand: a text is one token for
every four bytes of its UTF-8, rounded up; a message adds 4, an answer's priming
3, a picture 85; tool definitions and a response schema count as the compact
JSON that they are. Real tokenizers differ by model; this one only has to be
honest and the same every time.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import orjson

BYTES_PER_TOKEN: Final = 4
PER_MESSAGE: Final = 4
PER_ANSWER: Final = 3
PER_IMAGE: Final = 85
_BLOCK: Final = 128  # tokens: prefixes are cached in steps of this
_LEAST: Final = 1024  # tokens: shorter prefixes are not cached at all
_CACHED_BYTES: Final = 1 << 20  # of one prompt: nothing beyond is looked up


def count(text: str) -> int:
    """Tokens of one text."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Tokens of a whole request's input."""
    total = PER_ANSWER
    for message in body["messages"]:
        total += PER_MESSAGE
        content = message.get("content")
        if isinstance(content, str):
            total += count(content)
        elif isinstance(content, list):
            for part in content:
                kind = part.get("type")
                total += PER_IMAGE if kind == "image_url" else count(str(part.get(kind, "")))
        if message.get("tool_calls"):
            total += _json(message["tool_calls"])
    for key in ("tools", "response_format"):
        if body.get(key):
            total += _json(body[key])
    return total


def _json(value: object) -> int:
    return -(-len(orjson.dumps(value)) // BYTES_PER_TOKEN)


class PrefixCache:
    """Which prompt prefixes a model has seen, as the big providers cache them.

    A repeated prefix of at least 1,024 tokens is reported as cached, in blocks
    of 128. Bounded: the blocks least recently seen go first.
    """

    def __init__(self, blocks: int = 50_000) -> None:
        self._limit = blocks
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def look_up(self, model: str, body: Mapping[str, Any], total: int) -> int:
        """Cached tokens of this prompt of ``total`` tokens; remembers the prompt."""
        parts = [orjson.dumps(body.get("tools") or [])]
        parts += [orjson.dumps(message) for message in body["messages"]]
        text = b"\n".join(parts)[:_CACHED_BYTES]
        step = _BLOCK * BYTES_PER_TOKEN
        digest = hashlib.blake2b(model.encode(), digest_size=16)
        hit, unbroken = 0, True
        for at in range(0, len(text) - step + 1, step):
            digest.update(text[at : at + step])
            key = digest.digest()
            unbroken = unbroken and key in self._seen
            hit += unbroken
            self._seen[key] = None
            self._seen.move_to_end(key)
        while len(self._seen) > self._limit:
            self._seen.popitem(last=False)
        cached = min(hit * _BLOCK, total // _BLOCK * _BLOCK)
        return cached if cached >= _LEAST else 0
