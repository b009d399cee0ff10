"""Rows of a CSV file, as the lines of JSON that the same rows would be.

The first line names the columns: ``prompt``, ``id`` and whatever else a row may say. A name
with a dot is a key within an object: what a model scored stands in the column
``scores.NAME``. An empty cell says nothing. Columns are parted by commas, semicolons or tabs,
as spreadsheets write them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from sidecar.errors import DataError

NUMBERS: Final = ("scores", "output_tokens", "max_tokens", "max_completion_tokens")
_LONGEST_CELL: Final = 64 * 1024 * 1024


def is_csv(path: Path) -> bool:
    """By its name: ``.csv`` or ``.csv.gz``."""
    return path.name.lower().removesuffix(".gz").endswith(".csv")


def lines(path: Path, text: Iterable[str]) -> Iterator[tuple[int, bytes]]:
    """The numbered rows of ``text`` as JSON objects. Raises DataError."""
    source = iter(text)
    head = next(source, "")
    parted = max(",;\t", key=head.count)
    csv.field_size_limit(_LONGEST_CELL)  # the interpreter's, and 128 KB unless it is said
    (columns,) = csv.reader([head], delimiter=parted)
    columns = [name.strip() for name in columns]
    if "prompt" not in columns:
        raise DataError(
            f"{path} has no column `prompt`: its first line names the columns, such as "
            "prompt,scores.NAME"
        )
    rows = csv.reader(source, delimiter=parted)
    try:
        for row in rows:
            if row:
                yield rows.line_num + 1, orjson.dumps(_row(columns, row))
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num + 1}: {error}") from error


def _row(columns: list[str], cells: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, cell in zip(columns, cells, strict=False):
        if cell == "":
            continue
        # a model's name may have dots of its own
        key, dot, inner = name.partition(".")
        value = _number(cell) if key in NUMBERS else cell
        if dot:
            found.setdefault(key, {})[inner] = value
        else:
            found[name] = value
    return found


def _number(cell: str) -> int | float | str:
    """The number that a cell says; what is none stays, for whoever reads it to refuse."""
    try:
        return int(cell) if cell.strip().isdigit() else float(cell)
    except ValueError:
        return cell
