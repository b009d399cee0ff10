"""The models that a mock upstream serves, each with its own pace and manner.

The default paces are of the order at which hosted models of these sizes answer;
they are what makes a demo feel real, and no measurement of anybody's service.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Literal, get_args

from sidecar.errors import DataError

Manner = Literal["terse", "plain", "thorough"]


@dataclass(frozen=True, slots=True)
class MockModel:
    """One model of a mock upstream; what it cannot do, it refuses as a real one would."""

    name: str
    first_token_s: float = 0.2  # from the request to the first token
    tokens_per_s: float = 100.0
    manner: Manner = "plain"
    context: int = 128_000  # tokens of prompt and answer together
    vision: bool = True
    tools: bool = True
    json_schema: bool = True
    delta_words: int = 1  # in one event of a stream: busy servers send several at a time


DEFAULT_MODELS: Final = (
    MockModel("llama-3.1-8b-instruct", 0.10, 210.0, "terse", 8_192, False, True, False, 4),
    MockModel("llama-3.1-70b-instruct", 0.22, 110.0, "plain", 32_768, False, True, True, 3),
    MockModel("gpt-4o-2024-08-06", 0.40, 85.0, "thorough", delta_words=2),
)


def load(path: Path) -> tuple[MockModel, ...]:
    """Models from a JSON file: a list of objects with the fields of :class:`MockModel`.

    Raises :class:`DataError` with the model and the field that is wrong.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise DataError(f"{path}: not a readable JSON file ({exc})") from None
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: must be a non-empty list of models")
    models = tuple(_model(path, i, row) for i, row in enumerate(rows))
    if len({model.name for model in models}) != len(models):
        raise DataError(f"{path}: two models have the same name")
    return models


def by_name(models: Iterable[MockModel]) -> dict[str, MockModel]:
    return {model.name: model for model in models}


def _model(path: Path, i: int, row: object) -> MockModel:
    where = f"{path}: models[{i}]"
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        raise DataError(f"{where} must be an object with a `name`")
    known = {field.name: field.type for field in fields(MockModel)}
    for key, value in row.items():
        if key not in known:
            raise DataError(f"{where}: unknown field {key!r}; use {', '.join(known)}")
        if not _fits(known[key], value):
            raise DataError(f"{where}: {key} cannot be {value!r}")
    return MockModel(**row)


def _fits(kind: object, value: object) -> bool:
    # annotations are strings here, as everywhere under `from __future__`
    match kind:
        case "bool":
            return isinstance(value, bool)
        case "Manner":
            return value in get_args(Manner)
        case "str":
            return isinstance(value, str) and bool(value)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool) and value >= 1
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
