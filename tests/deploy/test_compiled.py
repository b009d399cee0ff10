"""What is written out for the compiler is what ``dataclasses`` would have made at import."""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import fields, replace
from types import ModuleType
from typing import Any

import pytest

from deploy.compiled import HERE, modules, written_out

SOURCE = '''
from __future__ import annotations

from dataclasses import dataclass as plain, field
from sidecar.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Asked:
    """One with every kind of field."""

    model: str
    body: bytes = field(repr=False)  # which stays out of repr
    limit: int | None = None
    seen: dict[str, int] = field(default_factory=dict, hash=False)
    why: str = "it's \\"so\\""

    @property
    def long(self) -> bool:
        return len(self.body) > 2


@dataclass(frozen=True, slots=True)
class Other:
    name: str = "other"
'''


def loaded(name: str, source: str, patch: pytest.MonkeyPatch) -> Any:
    """A module of ``source``, where ``dataclasses`` finds it."""
    module = ModuleType(name)
    patch.setitem(sys.modules, name, module)
    exec(compile(source, name, "exec"), module.__dict__)
    return module


def test_a_class_is_made_shown_compared_and_replaced_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = written_out(SOURCE)
    assert text.count("def __init__") == 2
    for number, source in enumerate((SOURCE, text)):
        made = loaded(f"made{number}", source, monkeypatch)
        one = made.Asked("m", b"abc", limit=3)
        assert repr(one) == "Asked(model='m', limit=3, seen={}, why='it\\'s \"so\"')"
        assert one == made.Asked(model="m", body=b"abc", limit=3)
        assert one != made.Asked("m", b"abc")
        assert hash(one) == hash(made.Asked("m", b"abc", 3))
        assert one.long
        assert replace(one, limit=None, why="") == made.Asked("m", b"abc", None, {}, "")
        one.seen["a"] = 1
        assert made.Asked("m", b"abc").seen == {}  # each has its own
        assert made.Other().name == "other"
        with pytest.raises(TypeError):
            made.Asked("m")


def test_what_does_more_than_set_its_fields_is_left_alone() -> None:
    source = "@dataclass(slots=True)\nclass A:\n    x: int\n\n    def __post_init__(self): ...\n"
    assert written_out(source) == source
    frozen = "@dataclass(frozen=True, slots=True)\nclass A:\n    x: int\n"
    assert written_out(frozen) == frozen  # the standard library's own: it stays frozen


def test_a_field_that_cannot_be_written_out_is_a_fault() -> None:
    source = SOURCE.replace("hash=False", "kw_only=True")
    with pytest.raises(SystemExit, match="kw_only"):
        written_out(source)


def test_every_module_takes_the_same_arguments_as_its_source() -> None:
    changed = 0
    for file in modules(HERE / "sidecar"):
        text = written_out(file.read_text())
        name = ".".join(file.relative_to(HERE).with_suffix("").parts)
        for node in ast.parse(text).body:
            if not isinstance(node, ast.ClassDef) or "init=False" not in ast.unparse(
                node.decorator_list
            ):
                continue
            [init] = [each for each in node.body if getattr(each, "name", "") == "__init__"]
            assert isinstance(init, ast.FunctionDef)
            kind = getattr(sys.modules.get(name) or __import__(name, fromlist=["_"]), node.name)
            asked = list(inspect.signature(kind).parameters)
            assert [each.arg for each in init.args.args[1:]] == asked, kind
            assert len(asked) == len(fields(kind))
            changed += 1
    assert changed > 30
