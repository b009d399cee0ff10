"""What an answer says of itself: which model gave it, and why it ended.

For spans alone, from what the tap has kept of an answer that is over: nobody's stream waits
for it, and who traces nothing has nothing read. Both are words of the upstream's, and come
cut to size; nothing else of an answer does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

_MODEL: Final = 200  # characters
_REASON: Final = 64
_REASONS: Final = 16


def model_and_reasons(parts: Sequence[bytes]) -> tuple[str, tuple[str, ...]]:
    """The model and the reasons for which its choices ended, as far as ``parts`` have them.

    ``parts`` are a whole answer, or some events of a stream, of any API that is served.
    """
    model, reasons = "", list[str]()
    for said in _objects(parts):
        name = said.get("model")
        if not model and isinstance(name, str):
            model = name[:_MODEL]
        reasons += _reasons(said)
    return model, tuple(reason[:_REASON] for reason in reasons[:_REASONS])


def _objects(parts: Sequence[bytes]) -> Iterator[Mapping[str, Any]]:
    """Each object, and the answer that an event of some APIs holds within."""
    for part in parts:
        try:
            said = orjson.loads(part)
        except orjson.JSONDecodeError:
            continue
        if isinstance(said, dict):
            yield said
            for name in ("response", "message"):
                if isinstance(said.get(name), dict):
                    yield said[name]


def _reasons(said: Mapping[str, Any]) -> Iterator[str]:
    choices = said.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and isinstance(choice.get("finish_reason"), str):
            yield choice["finish_reason"]
    for holder in (said, said.get("delta")):
        if isinstance(holder, dict) and isinstance(holder.get("stop_reason"), str):
            yield holder["stop_reason"]
    if said.get("object") == "response" and isinstance(said.get("status"), str):
        details = said.get("incomplete_details")
        why = details.get("reason") if isinstance(details, dict) else None
        if why or said["status"] != "in_progress":
            yield why if isinstance(why, str) else said["status"]
