"""Scored prompts as the requests they would have been, each with its models' scores.

A row is that of :mod:`sidecar.offline.rows`, and may say more: ``headers`` that its
request carried, ``time`` (ISO 8601), ``max_tokens``, and ``output_tokens``, a number or
``{model: number}``, from which its answers are priced. Whatever else it says with a
string (``source``, ``split``, ``tier``) can be asked for with ``--where``.

The request is built as a caller would and read by the very parser that serves, so
that a decision made here is the decision made there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from sidecar.config.snapshot import Abilities, ModelSpec
from sidecar.dialects import DIALECTS
from sidecar.errors import DataError, RequestError
from sidecar.features import features_of
from sidecar.headers import RequestHead
from sidecar.headers import read as read_head
from sidecar.offline.rows import BadRow, json_of, read_lines
from sidecar.offline.rows import parse as parse_row
from sidecar.parse import Received, parse
from sidecar.types import Call, Features

_SENT: Final = ("tools", "tool_choice", "response_format", "max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Case:
    """One request, and what each model's answer to it was worth."""

    id: Any
    call: Call
    features: Features
    scores: Mapping[str, float]  # by configured model, 0..1
    output_tokens: Mapping[str, float]  # by configured model, where the row says so
    labels: Mapping[str, str]
    now: float = 0.0  # Unix seconds; 0 where the row does not say
    weight: float = 1.0


@dataclass(slots=True)
class Passed:
    """Rows that are not simulated, and why."""

    bad: int = 0
    unscored: int = 0  # by one of the route's models
    elsewhere: int = 0  # not asked for
    known: int = 0  # in the route's library, which would know their answers
    first_fault: str = ""
    first_scores: tuple[str, ...] = ()  # the names that the first unscored row has scores of
    keys: dict[str, str] = field(default_factory=dict)  # configured model -> name of its scores


def cases(
    file: Path,
    route: str,
    models: Sequence[ModelSpec],
    abilities: Abilities,
    *,
    where: Mapping[str, str],
    passed: Passed,
    claims: bool = False,
) -> Iterator[Case]:
    """The requests of ``file`` to ``route`` that every one of ``models`` has a score for.

    ``claims`` is as :func:`~sidecar.features.features_of` takes it.
    """
    names = _Names(models, abilities)
    for number, line in read_lines(file):
        row = parse_row(line, number)
        if isinstance(row, BadRow):
            passed.bad += 1
            passed.first_fault = passed.first_fault or row.error
            continue
        value = json_of(line)
        labels = {key: said for key, said in value.items() if isinstance(said, str)}
        if any(labels.get(key) != wanted for key, wanted in where.items()):
            passed.elsewhere += 1
            continue
        keys = names.of(row.scores)
        if keys is None:
            passed.unscored += 1
            passed.first_scores = passed.first_scores or tuple(row.scores)
            continue
        passed.keys = passed.keys or dict(keys)
        try:
            call = parse(
                Received(str(row.id), DIALECTS["chat"], _headers(value), _body(value, route))
            )
            now, lengths = _time(value), _lengths(value.get("output_tokens"), keys)
        except (RequestError, ValueError, OverflowError) as exc:
            passed.bad += 1
            passed.first_fault = passed.first_fault or f"line {number}: {exc}"
            continue
        yield Case(
            id=row.id,
            call=call,
            features=features_of(call.prompt, claims=claims),
            scores={model: row.scores[key] for model, key in keys.items()},
            output_tokens=lengths,
            labels=labels,
            now=now,
        )


class _Names:
    """By which name a row's scores speak of each configured model."""

    def __init__(self, models: Sequence[ModelSpec], abilities: Abilities) -> None:
        self._models = models
        self._abilities = abilities
        self._known: dict[tuple[str, ...], dict[str, str] | None] = {}

    def of(self, scores: Mapping[str, float]) -> dict[str, str] | None:
        """The key of each model's score, or None where one has none."""
        given = tuple(scores)
        if given not in self._known:
            found = {m.name: key for m in self._models if (key := self._key(m, given)) is not None}
            self._known[given] = found if len(found) == len(self._models) else None
        return self._known[given]

    def _key(self, model: ModelSpec, given: tuple[str, ...]) -> str | None:
        ability = model.ability.partition("@")[0]
        for exact in (model.name, model.upstream_model, ability):
            if exact in given:
                return exact
        for key in given:  # the same model under another prompting, as `name@source`
            if key.partition("@")[0] in (model.upstream_model, ability):
                return key
        return next((key for key in given if self._abilities.resolve(key) == ability), None)


def _headers(value: Mapping[str, Any]) -> RequestHead:
    said = value.get("headers") or {}
    if not isinstance(said, dict) or not all(isinstance(v, str) for v in said.values()):
        raise ValueError("headers must be an object of strings")
    return read_head([(name.encode(), v.encode()) for name, v in said.items()])


def _body(value: Mapping[str, Any], route: str) -> bytes:
    messages = value.get("messages")
    if messages is None:
        messages = [{"role": "user", "content": value["prompt"]}]
    sent = {key: value[key] for key in _SENT if key in value}
    return orjson.dumps({"model": route, "messages": messages, **sent})


def _time(value: Mapping[str, Any]) -> float:
    said = value.get("time")
    return datetime.fromisoformat(said).timestamp() if isinstance(said, str) else 0.0


def _lengths(said: Any, keys: Mapping[str, str]) -> dict[str, float]:
    """By configured model, as far as the row says. Raises ValueError for no length."""
    if said is None:
        return {}
    if isinstance(said, dict):
        return {model: _length(said[key]) for model, key in keys.items() if key in said}
    return dict.fromkeys(keys, _length(said))


def _length(said: Any) -> float:
    # what is not JSON, such as NaN, comes through the parser of the rarer lines
    number = isinstance(said, int | float) and not isinstance(said, bool)
    if not number or not 0 <= said < math.inf:
        raise ValueError("output_tokens must be a number from 0, or an object of them")
    return float(said)


def conditions(given: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` as typed. Raises DataError for anything else."""
    found = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise DataError(f"--where takes KEY=VALUE, not {each!r}")
        found[key] = value
    return found
