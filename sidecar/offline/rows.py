"""Rows of JSON lines, one at a time, plain or gzipped; a bad row is an answer, not a crash.

A file whose name says CSV is read as such (:mod:`sidecar.offline.csv_rows`).
A row says its text as ``prompt`` or as ``messages`` (OpenAI's shape), and where it was
scored its ``scores {model: 0..1}``. Reading streams: memory does not grow with the file.
"""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import orjson

from sidecar.errors import DataError
from sidecar.offline import csv_rows
from sidecar.types import Prompt

LONGEST_LINE: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One good row."""

    id: Any
    prompt: Prompt
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row that can't be used, with a sentence that says why. Never holds its text."""

    id: Any
    line: int
    error: str


def read_rows(path: Path) -> Iterator[Row | BadRow]:
    """The rows of ``path`` (``-`` is standard input) in order; blank lines are skipped.

    Raises DataError when the file can't be opened or is no gzip inside.
    """
    for number, line in read_lines(path):
        yield parse(line, number)


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The numbered lines of ``path`` that are not blank, as :func:`parse` takes them.

    One that is too long comes as its first 64 MB. Raises DataError as :func:`read_rows`.
    """
    try:
        with _open(path) as lines:
            if csv_rows.is_csv(path):
                text = io.TextIOWrapper(lines, encoding="utf-8-sig", newline="")
                yield from csv_rows.lines(path, text)
                return
            number = 0
            while line := lines.readline(LONGEST_LINE):
                number += 1
                if not line.endswith(b"\n") and len(line) >= LONGEST_LINE:
                    while (rest := lines.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                        pass
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: save it as such") from error
    except (OSError, EOFError) as error:
        raise DataError(
            f"can't read {path}: {getattr(error, 'strerror', None) or error}"
        ) from error


def scored_rows(path: Path, models: list[str]) -> Iterator[Row]:
    """Good rows that score every one of ``models``. Raises DataError for any bad row."""
    for row in read_rows(path):
        if isinstance(row, BadRow):
            raise DataError(f"{path}: {row.error}")
        if all(model in row.scores for model in models):
            yield row


def _open(path: Path) -> IO[bytes]:
    if str(path) == "-":
        return sys.stdin.buffer
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def parse(line: bytes, number: int) -> Row | BadRow:
    """One line of JSON as a row."""
    if len(line) >= LONGEST_LINE and not line.endswith(b"\n"):
        return BadRow(None, number, f"line {number} is longer than 64 MB")
    try:
        value = json_of(line)
    except ValueError as error:
        return BadRow(None, number, f"line {number} is not JSON: {error}")
    if not isinstance(value, dict):
        hint = ""
        if isinstance(value, list):
            hint = ": rows are one object a line, and this is a list of them (jq -c '.[]' FILE)"
        return BadRow(None, number, f"line {number} is not a JSON object{hint}")
    name = value.get("id", number)
    fault, prompt = _prompt(value)
    if prompt is None:
        return BadRow(name, number, f"line {number}: {fault}")
    scores = value.get("scores")
    if scores is None:
        return Row(name, prompt)
    fault = _fault_of(scores)
    if fault:
        return BadRow(name, number, f"line {number}: {fault}")
    return Row(name, prompt, {model: float(v) for model, v in scores.items()})


def _fault_of(scores: Any) -> str:
    if not isinstance(scores, dict):
        return "scores must be an object of numbers 0 to 1, by model"
    for model, said in scores.items():
        if not isinstance(said, int | float):
            return f"scores must be numbers 0 to 1, and that of {model} is none"
        if not 0 <= said <= 1:
            return f"scores must be numbers 0 to 1, and that of {model} is {said:g}"
    return ""


def json_of(line: bytes) -> Any:
    """The JSON of ``line``, half a surrogate pair allowed. Raises ValueError."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        import json  # noqa: PLC0415 - only for the rare line that orjson refuses

        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise ValueError(error.msg) from None


def _prompt(value: dict[str, Any]) -> tuple[str, Prompt | None]:
    if "messages" in value:
        return _conversation(value)
    text = value.get("prompt")
    if not isinstance(text, str):
        return "needs prompt (a string) or messages (a list)", None
    return "", Prompt(user=text)


def _conversation(value: dict[str, Any]) -> tuple[str, Prompt | None]:
    messages = value["messages"]
    if not isinstance(messages, list) or not messages:
        return "messages must be a non-empty list", None
    system: list[str] = []
    user, turns, media = "", 0, 0
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return "every message must be an object with a role", None
        text, attached = _text(message.get("content"))
        media += attached
        if message["role"] in ("system", "developer"):
            system.append(text)
        elif message["role"] == "user":
            user, turns = text, turns + 1
    tools = value.get("tools")
    return "", Prompt(
        system="\n".join(system),
        user=user,
        turns=turns,
        tools=len(tools) if isinstance(tools, list) else 0,
        media=media,
    )


def _text(content: Any) -> tuple[str, int]:
    """The text of a message's content and how many parts of it are not text."""
    if isinstance(content, str):
        return content, 0
    if not isinstance(content, list):
        return "", 0
    texts: list[str] = []
    other = 0
    for part in content:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, dict):
            other += 1
    return "\n".join(texts), other
