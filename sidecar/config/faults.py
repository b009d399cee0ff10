"""What is wrong with a file, said so that it can be mended.

A fault is one line, ``file:line: key: message``; a file's faults are told all at
once, in the order of its lines.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from pydantic import ValidationError

from sidecar.config.yamlfile import Document


def of_validation(document: Document, error: ValidationError, known: Iterable[str]) -> list[str]:
    """The faults that pydantic found in ``document``; ``known`` are keys to suggest."""
    keys = list(known)
    found = []
    for fault in error.errors(include_url=False, include_input=False):
        # pydantic marks the key of a mapping with "[key]": the key itself is before it
        key = tuple(part for part in fault["loc"] if part != "[key]")
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = f"unknown key{hint(str(key[-1]), keys)}"
        elif fault["type"] == "missing":
            message = "is required"
        found.append(document.fault(key, message[0].lower() + message[1:]))
    return found


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
