"""The lines of a decision log, as a report reads them: whole, or not at all.

A log outlives versions, is cut short by a full disk and is edited by hand. A line that
lacks what a report sums, or has something else in its place, is no decision: it is told
from the others before anything of it is counted.
"""

from __future__ import annotations

from typing import Any, Final, NotRequired

import orjson
from pydantic import AwareDatetime, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # typing's own is not enough before 3.12


class _Tokens(TypedDict):
    input: float | None


class _Ms(TypedDict):
    decision: float


class _Candidate(TypedDict):
    model: str
    p: float | None
    cost_usd: float


class _Failed(TypedDict):
    model: str
    cost_usd: NotRequired[float | None]


class _Reading(TypedDict):
    difficulty: NotRequired[float | None]
    ood: NotRequired[float | None]


class _Shadow(TypedDict):
    route: str
    model: str | None
    reason: NotRequired[str]  # these three where there is a model
    p: NotRequired[float | None]
    cost_usd: NotRequired[float | None]


class _Decision(TypedDict):
    time: AwareDatetime
    route: str
    decided: str
    reason: str
    model: str
    answered: str
    ended: str
    tenant: str | None
    arm: NotRequired[str | None]
    flip: NotRequired[str | None]
    shadow: NotRequired[_Shadow | None]
    tokens: _Tokens
    cost_usd: float | None
    cost_strong_usd: float | None
    failed: list[_Failed]
    candidates: list[_Candidate]
    reading: NotRequired[_Reading | None]
    ms: _Ms


class _Feedback(TypedDict):
    kind: str
    route: str
    model: str
    tenant: NotRequired[str | None]
    arm: NotRequired[str | None]
    score: float


_DECISION: Final[TypeAdapter[Any]] = TypeAdapter(_Decision)
_FEEDBACK: Final[TypeAdapter[Any]] = TypeAdapter(_Feedback)


def is_score(row: dict[str, Any]) -> bool:
    """Whether a row of :func:`read` is a score of an answer, and no decision."""
    return row.get("kind") == "feedback"


def read(line: bytes) -> dict[str, Any] | None:
    """What a report needs of a line, ``time`` as a datetime; None where it is no such line."""
    try:
        row = orjson.loads(line)
        kind = _FEEDBACK if isinstance(row, dict) and is_score(row) else _DECISION
        found: dict[str, Any] = kind.validate_python(row)
    except (orjson.JSONDecodeError, ValidationError):
        return None
    shadow = found.get("shadow")
    if shadow and shadow["model"] is not None and not {"reason", "p", "cost_usd"} <= shadow.keys():
        return None
    return found
