"""The documentation of the configuration is complete, and its example is good."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel

from sidecar.cli import main
from sidecar.config import schema

DOCS = Path(__file__).parents[3] / "docs"


def keys(section: type[BaseModel]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield name
        for inner in inside(field.annotation):
            yield from keys(inner)


def inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        if part is not NoneType:
            yield from inside(part)


def test_every_key_is_documented_and_no_key_that_is_not_there() -> None:
    text = (DOCS / "configuration.md").read_text()
    cells = re.findall(r"`([^`\n]+)`", text)
    words = {part for cell in cells for part in re.split(r"[.\s]", cell)}
    known = set(keys(schema.Config))
    assert sorted(known - words) == []
    first_cells = re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
    rows = {part for cell in first_cells for part in re.findall(r"[a-z_]+", cell)}
    assert sorted(rows - known) == []


def test_the_example_configuration_is_good(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert main(["check", str(DOCS / "sidecar.yaml")]) == 0
    assert capsys.readouterr().err == ""
