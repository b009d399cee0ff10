"""YAML with the line of every key.

An operator with a bad config wants the file, the line and the key. PyYAML's
node graph has the lines; this keeps them beside the plain values, and refuses
what plain loading would let pass: a key given twice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sidecar.errors import ConfigError

Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file as plain values, and where each of them stands."""

    file: str
    value: Any
    lines: dict[Key, int]
    digest: str  # the first 12 hex digits of the file's SHA-256

    def fault(self, key: Key, message: str) -> str:
        """One line for one fault: ``file:line: key: message``."""
        known = key
        while known and known not in self.lines:
            known = known[:-1]
        dotted = ".".join(map(str, key)) or "(whole file)"
        return f"{self.file}:{self.lines.get(known, 1)}: {dotted}: {message}"


def load(path: Path) -> Document:
    """Read ``path``; :class:`ConfigError` where it is missing, not YAML, or ambiguous."""
    name = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError([f"{name}: cannot be read: {exc.strerror}"]) from None
    except UnicodeDecodeError as exc:
        raise ConfigError([f"{name}: is not UTF-8 (byte {exc.start})"]) from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        raise ConfigError([f"{name}:{line}: not valid YAML: {exc.problem}"]) from None
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        raise ConfigError([f"{name}:{line}: not valid YAML: {exc.reason}"]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise ConfigError([f"{name}:1: not valid YAML: {exc}"]) from None
    index = _Index(name)
    if root is not None:
        index.walk(root, (), frozenset())
    if index.faults:
        raise ConfigError(index.faults)
    return Document(name, value, index.lines, hashlib.sha256(text.encode()).hexdigest()[:12])


class _Index:
    """Where each key stands, and which stand twice."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Key, int] = {(): 1}
        self.faults: list[str] = []

    def walk(self, node: yaml.Node, key: Key, above: frozenset[int]) -> None:
        if id(node) in above:  # an alias to its own ancestor
            return
        above |= {id(node)}
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for name, child in node.value:
                part = str(getattr(name, "value", name))
                inner: Key = (*key, part)
                line = name.start_mark.line + 1
                if part in seen:
                    self.faults.append(
                        f"{self.file}:{line}: {'.'.join(map(str, inner))}: given twice"
                    )
                seen.add(part)
                self.lines.setdefault(inner, line)
                self.walk(child, inner, above)
        elif isinstance(node, yaml.SequenceNode):
            for i, child in enumerate(node.value):
                inner = (*key, i)
                self.lines.setdefault(inner, child.start_mark.line + 1)
                self.walk(child, inner, above)
