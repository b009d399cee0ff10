"""The page of reasons has every word that a decision may give, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACES = {"Decision": 2, "fall_back": 2, "prefer": 2}  # where a reason is positional
NAMED = {"rule:": "rule:NAME", "fallback:": "fallback:N"}


def words(node: ast.expr) -> Iterator[str]:
    """The words that an expression may be: a constant, either side of a choice, a named one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from words(node.body)
        yield from words(node.orelse)
    elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
        yield NAMED[node.values[0].value]


def given(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            at = PLACES.get(name)
            if at is not None and len(node.args) > at:
                yield from words(node.args[at])
            for keyword in node.keywords:
                if keyword.arg == "reason":
                    yield from words(keyword.value)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=True))
                for left, right in pairs:
                    if isinstance(left, ast.Name) and left.id == "reason":
                        yield from words(right)


def test_every_reason_is_on_its_page_and_every_one_there_is_given() -> None:
    files = [*(ROOT / "sidecar" / "decide").rglob("*.py")]
    files += [ROOT / "sidecar" / f"{n}.py" for n in ("dispatch", "errors", "pipeline", "replay")]
    found = {word for file in files for word in given(ast.parse(file.read_text("utf-8")))}
    page = (ROOT / "docs" / "reasons.md").read_text("utf-8")
    told = set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)) - {"x-router-reason"}
    assert found == told
