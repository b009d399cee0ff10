"""Values made for a JSON schema fit it."""

from __future__ import annotations

import re

import pytest

from sidecar.demo.samples import sample, spelled

ORDER = {
    "type": "object",
    "properties": {
        "order_id": {"type": "string"},
        "status": {"type": "string", "enum": ["open", "shipped", "returned"]},
        "total": {"type": "number", "minimum": 0},
        "items": {
            "type": "array",
            "minItems": 2,
            "items": {"$ref": "#/$defs/item"},
        },
        "note": {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 20}]},
    },
    "required": ["order_id", "status", "total", "items", "note"],
    "additionalProperties": False,
    "$defs": {
        "item": {
            "type": "object",
            "properties": {"sku": {"type": "string"}, "quantity": {"type": "integer"}},
            "required": ["sku", "quantity"],
        }
    },
}


def test_an_object_has_every_required_field_and_no_other() -> None:
    value = sample(ORDER, "Where is my order?")
    assert set(value) == {"order_id", "status", "total", "items", "note"}
    assert len(value["items"]) == 2
    assert all(set(item) == {"sku", "quantity"} for item in value["items"])
    assert len(value["note"]) <= 20


def test_what_the_prompt_says_is_used_where_it_fits() -> None:
    value = sample(ORDER, "Order A-10293 was returned, I paid 129.90 for it")
    assert value["order_id"] == "A-10293"
    assert value["status"] == "returned"
    assert value["total"] == 129.90


def test_the_same_schema_and_prompt_give_the_same_value() -> None:
    assert sample(ORDER, "Order A-1 shipped") == sample(ORDER, "Order A-1 shipped")


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        ({"type": "integer", "minimum": 3, "maximum": 9}, lambda v: 3 <= v <= 9),
        ({"type": "integer", "exclusiveMinimum": 3}, lambda v: isinstance(v, int) and v > 3),
        ({"type": "number", "exclusiveMaximum": 0}, lambda v: v < 0),
        ({"type": "integer", "multipleOf": 25, "minimum": 30}, lambda v: v == 50),
        ({"type": ["null", "boolean"]}, lambda v: v is True),
        ({"type": "null"}, lambda v: v is None),
        ({"const": 7}, lambda v: v == 7),
        ({"type": "string", "minLength": 40}, lambda v: len(v) >= 40),
        ({"type": "string", "maxLength": 3}, lambda v: len(v) <= 3),
        ({"type": "string", "format": "date"}, lambda v: re.fullmatch(r"\d{4}-\d\d-\d\d", v)),
        ({"type": "string", "pattern": "^[A-Z]{3}$"}, lambda v: re.fullmatch("[A-Z]{3}", v)),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 0}, lambda v: v == []),
        (
            {"type": "array", "uniqueItems": True, "minItems": 3, "items": {"type": "integer"}},
            lambda v: len(set(v)) == 3,
        ),
        (
            {"allOf": [{"properties": {"a": {"type": "integer"}}}, {"required": ["a"]}]},
            lambda v: isinstance(v["a"], int),
        ),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, lambda v: v == {}),
    ],
)
def test_bounds_are_kept(schema: dict, fits) -> None:
    assert fits(sample(schema, "nothing of use"))


@pytest.mark.parametrize(
    "pattern", [r"^[A-Z]{2}-\d{4}$", r"^\+?\d{6,15}$", r"^(EUR|USD)$", r"^[a-z0-9_]{3,}\.csv$"]
)
def test_a_simple_pattern_is_spelled(pattern: str) -> None:
    assert re.search(pattern, spelled(pattern))


def test_a_recursive_schema_ends() -> None:
    tree = {
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["children"],
    }
    assert "children" in sample(tree)


@pytest.mark.parametrize("schema", [True, False, {}, {"type": "thing"}, {"$ref": "#/none"}])
def test_a_schema_that_says_nothing_is_no_error(schema: object) -> None:
    sample(schema)  # type: ignore[arg-type]
