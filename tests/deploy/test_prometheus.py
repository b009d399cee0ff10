"""The alert rules and the Grafana board: judged by the real promtool, over metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import yaml

from deploy.grafana import board

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "deploy" / "prometheus" / "rules.yaml"
CLUSTER: Final = ROOT / "deploy" / "chart" / "files" / "cluster-rules.yaml"
CASES: Final = {
    RULES: RULES.with_name("rules.test.yaml"),
    CLUSTER: RULES.with_name("cluster-rules.test.yaml"),
}
BOTH: Final = pytest.mark.parametrize("rules", CASES, ids=lambda file: file.stem)
SUFFIXES: Final = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}


@pytest.fixture(scope="module")
def promtool() -> str:
    # `make test` takes it out of Debian's package, whose daemon nobody asked for
    found = shutil.which("promtool") or str(ROOT / ".venv" / "tools" / "usr" / "bin" / "promtool")
    if not Path(found).exists():
        pytest.skip("promtool is not installed: make test fetches it where there is apt-get")
    return found


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules_of(file: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load(file.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for file in CASES for rule in rules_of(file) if "alert" in rule]


def scraped() -> Mapping[str, frozenset[str]]:
    """Every series name that a scrape can hold, with its labels, from the documentation."""
    rows = re.findall(
        r"^\| `((?:router|inject)_\w+)` \| (\w+) \|([^|]*)\|",
        (ROOT / "docs" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    return {
        name + suffix: frozenset(re.findall(r"`(\w+)`", labels))
        | ({"le"} if suffix == "_bucket" else set())
        for name, kind, labels in rows
        for suffix in SUFFIXES[kind]
    }


def selectors(expr: str) -> Iterator[tuple[str, list[str]]]:
    """Every series an expression asks for, and the labels it asks of it."""
    for name, matchers in re.findall(r"\b((?:router|inject)_\w+)(?:\{([^}]*)\})?", expr):
        yield name, re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)


def panels(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in made["panels"]:
        yield panel
        yield from panel.get("panels", ())


def board_exprs() -> list[tuple[str, str]]:
    made = orjson.loads(board.FILE.read_bytes())
    return [
        (panel["title"], target["expr"])
        for panel in panels(made)
        for target in panel.get("targets", ())
    ]


@BOTH
def test_the_rules_are_good(promtool: str, rules: Path) -> None:
    assert f"{len(rules_of(rules))} rules found" in run(promtool, "check", "rules", str(rules))


@BOTH
def test_alerts_fire_when_they_must_and_only_then(promtool: str, rules: Path) -> None:
    assert "SUCCESS" in run(promtool, "test", "rules", str(CASES[rules]))


@BOTH
def test_every_rule_is_tested_where_it_says_something(rules: Path) -> None:
    text = CASES[rules].read_text()
    for rule in rules_of(rules):
        name = rule.get("alert") or rule["record"]
        fires = f'alertname="{name}",alertstate="firing"' in text
        told = re.search(rf"alertname: {name}\n +eval_time: \S+\n +exp_alerts:\n", text)
        assert fires or told or f"labels: '{name}{{" in text, name


def test_nobody_is_told_of_one_thing_by_two_alerts() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) >= 16
    assert sorted(set(names)) == sorted(names)


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_alerts_and_panels_ask_for_metrics_and_labels_that_exist() -> None:
    known = scraped()
    asked = [(rule["alert"], rule["expr"]) for rule in alerts()] + board_exprs()
    for where, expr in asked:
        for name, labels in selectors(expr):
            assert name in known, f"{where}: no metric {name}"
            # the target's own labels are the scraper's to give
            unknown = set(labels) - known[name] - {"job", "instance", "namespace", "pod"}
            assert not unknown, f"{where}: {name} has no label {unknown}"


def test_every_panel_of_the_board_parses(promtool: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$__(rate_interval|range)", "5m", expr)}
        for number, (_, expr) in enumerate(board_exprs())
    ]
    assert len(rules) >= 20
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run(promtool, "check", "rules", str(file))


def test_the_board_is_one_that_grafana_imports() -> None:
    made = orjson.loads(board.FILE.read_bytes())
    assert {"title", "uid", "panels", "schemaVersion", "templating", "time"} <= made.keys()
    ids = [panel["id"] for panel in panels(made)]
    assert len(ids) == len(set(ids))
    places = [panel["gridPos"] for panel in made["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)), "panels lie over each other"
    for panel in panels(made):
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
            assert panel.get("description"), panel["title"]


def test_the_board_is_what_its_source_writes() -> None:
    assert board.FILE.read_bytes() == board.text(), "run: python -m deploy.grafana.board"
