"""Metrics: sums over workers, what is read at a scrape, and every name documented."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.observe.metrics import Registry

ROOT = Path(__file__).parents[3]
_MAKERS = {"counter", "gauge", "histogram"}


def made_in_the_code() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Name, kind and labels of every metric that any module of the product makes."""
    for file in sorted((ROOT / "sidecar").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            first = node.args[0] if node.args else None
            if node.func.attr in _MAKERS and isinstance(first, ast.Constant):
                labels = [kw.value for kw in node.keywords if kw.arg == "labels"] + node.args[2:3]
                words = ast.literal_eval(labels[0]) if labels else ()
                yield str(first.value), node.func.attr, tuple(words)


def documented() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    rows = re.findall(
        r"^\| `((?:router|inject)_\w+)` \| (\w+) \|([^|]*)\|",
        (ROOT / "docs" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    for name, kind, labels in rows:
        yield name, kind, tuple(re.findall(r"`(\w+)`", labels))


def test_every_metric_is_documented_with_its_kind_and_labels_and_no_other_is() -> None:
    made, told = sorted(made_in_the_code()), sorted(documented())
    assert len(made) > 20
    assert [row for row in made if row not in told] == []
    assert [row for row in told if row not in made] == []


def said_by(called: set[str]) -> set[str]:
    """Every word that the code gives as the first argument of a call of these names."""
    words: set[str] = set()
    for file in sorted((ROOT / "sidecar").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and node.args):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
            if (name.id if isinstance(name, ast.Name) else name) in called:
                inside = ast.walk(node.args[0])  # both branches, where it is a choice
                words |= {str(each.value) for each in inside if isinstance(each, ast.Constant)}
    return words - {"None"}


@pytest.mark.parametrize(
    ("metric", "called", "other"),
    [
        ("router_stage_seconds", {"lap"}, {"upstream"}),  # what comes after the decision
        ("inject_reviews", {"LeftAlone", "Injection"}, set()),
    ],
)
def test_every_word_of_a_label_is_documented(
    metric: str, called: set[str], other: set[str]
) -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith(f"| `{metric}`"))
    told = set(re.findall(r"`([\w-]+)`", row.split("|", 4)[4]))
    words = said_by(called) - other
    assert len(words) > 3
    assert words - told == set()
    assert told - words - {"injected"} == set()


def registry(queue: float = 2.0) -> Registry:
    made = Registry()
    made.counter("asked", "Asked.", ("model",)).add(("small",), 3)
    made.gauge("in_flight", "In flight.").value = 4
    made.gauge("generation", "Generation.", alike=True).value = 7
    made.gauge("queue", "Queue.", ("place",), read=lambda: {("here",): queue})
    made.histogram("seconds", "Seconds.", ("stage",), (0.1, 1.0)).observe(("parse",), 0.5)
    return made


def samples(made: Registry) -> dict[str, float]:
    return {
        sample.name
        + "".join(f"{{{value}}}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(made.exposition().decode())
        for sample in family.samples
    }


def test_workers_are_summed_and_what_they_have_alike_is_told_once() -> None:
    # over the wire that carries it between processes
    other = orjson.loads(orjson.dumps(registry(queue=5.0).dump()))
    seen = samples(registry().summed([other]))
    assert seen["asked_total{small}"] == 6
    assert seen["in_flight"] == 8
    assert seen["generation"] == 7
    assert seen["queue{here}"] == 7
    assert seen["seconds_bucket{0.1}{parse}"] == 0
    assert seen["seconds_bucket{1.0}{parse}"] == 2
    assert seen["seconds_count{parse}"] == 2
    assert seen["seconds_sum{parse}"] == 1.0


def test_summing_leaves_each_workers_own_values_as_they_were() -> None:
    own = registry()
    own.summed([own.dump()])
    assert samples(own)["asked_total{small}"] == 3
    assert samples(own) == samples(own.summed())


def test_what_is_read_is_read_at_each_scrape() -> None:
    made = Registry()
    length = [1.0]
    made.gauge("length", "Length.", read=lambda: length[0])
    made.counter("spent", "Spent.", ("mode",), read=lambda: {("user",): length[0]})
    assert samples(made.summed())["length"] == 1
    length[0] = 9.0
    assert samples(made.summed())["length"] == 9
    assert samples(made.summed())["spent_total{user}"] == 9


def test_a_name_is_made_once() -> None:
    made = registry()
    with pytest.raises(ValueError, match="asked is made twice"):
        made.gauge("asked", "Asked again.")
