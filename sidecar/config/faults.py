"""What is wrong with a file, said so that it can be mended.

A fault is one line, ``file:line: key: message``; a file's faults are told all at
once, in the order of its lines.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

from pydantic import ValidationError

from sidecar.config.yamlfile import Document, Key

# What pydantic finds, in words of a file and not of a program.
_SAID: Final = {
    "extra_forbidden": "unknown key",
    "missing": "is required",
    "string_type": "must be a string: put it in quotes",
    "invalid_key": "must be a string: put it in quotes",
    "tuple_type": "must be a list, as in [one, another]",
    "dict_type": "must be a mapping, as in {key: value}",
    "model_type": "must be a mapping, as in {key: value}",
    "float_type": "must be a number",
    "float_parsing": "must be a number, without a unit",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number, without a unit",
    "int_from_float": "must be a whole number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}


class Findings:
    """What is found in one file while it is compiled: faults refuse it, warnings do not."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.faults: list[str] = []
        self.warnings: list[str] = []

    def fault(self, key: Key, message: str) -> None:
        self.faults.append(self._document.fault(key, message))

    def warn(self, key: Key, message: str) -> None:
        self.warnings.append(self._document.fault(key, message))


def of_validation(document: Document, error: ValidationError, known: Iterable[str]) -> list[str]:
    """The faults that pydantic found in ``document``; ``known`` are keys to suggest."""
    keys = list(known)
    found = []
    for fault in error.errors(include_url=False, include_input=False):
        # pydantic marks the key of a mapping with "[key]": the key itself is before it
        key = tuple(part for part in fault["loc"] if part != "[key]")
        kind = fault["type"]
        message = _SAID.get(kind) or _plain(fault["msg"])
        if kind == "extra_forbidden":
            name = str(key[-1])
            # a key of another section is right there and wrong here
            message += hint(name, [each for each in keys if each != name])
        elif kind in {"too_short", "string_too_short"} and fault["ctx"]["min_length"] == 1:
            message = "must not be empty"
        found.append(document.fault(key, message))
    return found


def _plain(message: str) -> str:
    """Pydantic's sentence about an "input", as one about the key before it."""
    said = message.removeprefix("Value error, ")
    for opening in ("Input should ", "String should ", "Tuple should ", "Dictionary should "):
        if said.startswith(opening):
            return f"must {said.removeprefix(opening)}"
    return said[0].lower() + said[1:]


def hint(name: str, known: Iterable[str]) -> str:
    """What ``name`` may have been meant to be, as the end of a sentence; often nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def in_order(faults: Iterable[str]) -> list[str]:
    """By file and line."""
    return sorted(faults, key=_line)


def _line(fault: str) -> tuple[str, int]:
    match = re.match(r"(.*?):(\d+): ", fault)
    return (match[1], int(match[2])) if match else ("", 0)
