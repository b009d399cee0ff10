"""A rule holds where every condition it gives holds."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.config.schema import When
from sidecar.decide.rules import holds
from sidecar.types import Hints
from tests.support.builders import call, reading

LONG = 100_000


@pytest.mark.parametrize(
    ("when", "kw", "expected"),
    [
        ({"keywords": "Proof"}, {"user": "a PROOF, please"}, True),
        ({"keywords": ["x", "straße"]}, {"user": "STRASSE"}, True),
        ({"keywords": "proof"}, {"user": "hello"}, False),
        ({"keywords": "end"}, {"user": "x" * LONG + "end"}, True),
        ({"keywords": "start"}, {"user": "start" + "x" * LONG}, True),
        ({"min_tokens": 10}, {"input_tokens": 10}, True),
        ({"min_tokens": 11}, {"input_tokens": 10}, False),
        ({"max_tokens": 10}, {"input_tokens": 10}, True),
        ({"max_tokens": 9}, {"input_tokens": 10}, False),
        ({"max_tokens": 0}, {"input_tokens": 10}, False),
        ({"needs": "tools"}, {"needs": ["tools", "vision"]}, True),
        ({"needs": ["tools", "vision"]}, {"needs": ["tools"]}, False),
        ({"tenant": "a"}, {"hints": Hints(tenant="a")}, True),
        ({"tenant": ["a", "b"]}, {"hints": Hints(tenant="c")}, False),
        ({"tenant": "a"}, {}, False),
        ({"tenant": "a", "min_tokens": 11}, {"hints": Hints(tenant="a")}, False),
        ({"task": "code"}, {}, False),  # there is no reading
    ],
)
def test_conditions_without_a_reading(
    when: dict[str, Any], kw: dict[str, Any], expected: bool
) -> None:
    assert holds(When(**when), call(**kw), None) is expected


@pytest.mark.parametrize(
    ("when", "labels", "expected"),
    [
        ({"task": "code"}, {"task": "code"}, True),
        ({"task": ["qa", "code"]}, {"task": "code"}, True),
        ({"task": "qa"}, {"task": "code"}, False),
        ({"domain": "legal"}, {"domain": "legal"}, True),
        ({"domain": "legal", "tier": "complex"}, {"domain": "legal", "tier": "simple"}, False),
        ({"tier": "complex"}, {"tier": "complex"}, True),
        ({"tier": "complex"}, {}, False),
    ],
)
def test_conditions_on_a_reading(
    when: dict[str, Any], labels: dict[str, str], expected: bool
) -> None:
    assert holds(When(**when), call(), reading(**labels)) is expected
