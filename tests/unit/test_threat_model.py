"""The threat model names tests that exist, and every limit it leans on."""

from __future__ import annotations

import re
from pathlib import Path

from sidecar.config.schema import Limits

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "THREAT_MODEL.md").read_text()


def test_every_test_that_the_threat_model_names_is_there() -> None:
    written = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"\btest_[a-z0-9_]+\b(?!\.py)", TEXT))
    assert len(named) > 20
    assert sorted(name for name in named if f"def {name}(" not in written) == []


def test_every_file_that_the_threat_model_names_is_there() -> None:
    named = set(
        re.findall(r"`((?:e2e|faults|unit|contract|fuzz|browser|deploy)/[a-z_/]*(?:\.py)?)", TEXT)
    )
    assert len(named) > 10
    assert sorted(name for name in named if not (ROOT / "tests" / name).exists()) == []


def test_every_limit_has_its_threat() -> None:
    assert sorted(name for name in Limits.model_fields if f"limits.{name}" not in TEXT) == []
