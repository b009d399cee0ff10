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
# the target's own labels are the scraper's to give
TARGETS: Final = frozenset({"job", "instance", "namespace", "pod"})
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


def selectors(expr: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Every series an expression asks for, and the labels it asks of it with their values."""
    for name, matchers in re.findall(r"\b((?:router|inject)_\w+)(?:\{([^}]*)\})?", expr):
        yield name, re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"([^\"]*)\"", matchers)


def grouped(expr: str) -> set[str]:
    """Every label that an expression groups or matches by."""
    lists = re.findall(r"\b(?:by|without|on|ignoring|group_left)\s*\(([^)]*)\)", expr)
    return {label.strip() for words in lists for label in words.split(",") if label.strip()}


def words() -> set[str]:
    """Every word that a label can have: those that the documents quote, and codes of errors."""
    text = (ROOT / "docs" / "metrics.md").read_text() + (ROOT / "docs" / "reasons.md").read_text()
    source = "".join(file.read_text() for file in (ROOT / "sidecar").rglob("*.py"))
    return set(re.findall(r"`([\w-]+)`", text)) | set(re.findall(r"\bcode=\"(\w+)\"", source))


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


def asides() -> list[tuple[str, str]]:
    """What the board asks beside its panels: the choice above it, and its annotations."""
    made = orjson.loads(board.FILE.read_bytes())
    choices = [(each["label"], each.get("definition", "")) for each in made["templating"]["list"]]
    notes = [(each["name"], each["expr"]) for each in made["annotations"]["list"]]
    return [(where, expr) for where, expr in choices + notes if expr]


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


def test_alerts_and_panels_ask_for_metrics_labels_and_values_that_exist() -> None:
    known, said = scraped(), words()
    asked = [(rule["alert"], rule["expr"]) for rule in alerts()] + board_exprs() + asides()
    assert len(asked) > 40
    for where, expr in asked:
        here = set(TARGETS)
        for name, matchers in selectors(expr):
            assert name in known, f"{where}: no metric {name}"
            here |= known[name]
            for label, value in matchers:
                exists = label in known[name] | TARGETS
                assert exists, f"{where}: {name} has no label {label}"
                if label not in TARGETS | {"status"}:
                    assert set(value.split("|")) <= said, f"{where}: {name} is never {value}"
        assert grouped(expr) <= here, f"{where}: groups by {grouped(expr) - here}"


def test_what_a_legend_or_an_alert_names_is_left_by_its_expression() -> None:
    made = orjson.loads(board.FILE.read_bytes())
    told = [
        (panel["title"], target["expr"], set(re.findall(r"{{(\w+)}}", target["legendFormat"])))
        for panel in panels(made)
        for target in panel.get("targets", ())
    ]
    for where, expr, named in told:
        assert named <= grouped(expr), f"{where}: its legend names {named - grouped(expr)}"
    for rule in alerts():
        text = " ".join(rule["annotations"].values())
        named = set(re.findall(r"\$labels\.(\w+)", text))
        dropped = set().union(
            *(each.split(", ") for each in re.findall(r"without \(([^)]*)\)", rule["expr"]))
        )
        there = set().union(*(scraped()[name] for name, _ in selectors(rule["expr"])))
        assert named <= (there | TARGETS) - dropped, f"{rule['alert']} names {named}"


def test_what_an_alert_tells_people_to_look_at_exists() -> None:
    for rule in alerts():
        for name in re.findall(r"\brouter_\w+", rule["annotations"]["description"]):
            assert {name, f"{name}_count"} & scraped().keys(), f"{rule['alert']}: no {name}"


def test_every_panel_of_the_board_parses(promtool: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$__(rate_interval|range)", "5m", expr)}
        for number, (_, expr) in enumerate(board_exprs())
    ]
    assert len(rules) >= 20
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run(promtool, "check", "rules", str(file))


def test_where_every_answer_was_counted_none_is_of_unknown_cost(
    promtool: str, tmp_path: Path
) -> None:
    """And not "no data": the counter's series comes with its first answer."""
    expr = dict(board_exprs())["Answers of unknown cost"]
    expr = expr.replace("$__range", "5m").replace("$instance", ".*")
    answers = {"series": 'router_answers_total{instance="a",model="m"}', "values": "0+10x20"}
    asked = {"expr": expr, "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": 0}]}
    case = {"interval": "1m", "input_series": [answers], "promql_expr_test": [asked]}
    file = tmp_path / "unknown.yaml"
    file.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [case]}))
    assert "SUCCESS" in run(promtool, "test", "rules", str(file))


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
