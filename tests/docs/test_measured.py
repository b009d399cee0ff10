"""What the documents say was measured is what the results file says, and nothing vanishes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench import numbers, readme
from bench.report.charts import charts
from bench.report.headline import headline
from bench.report.rows import NOT_MEASURED, Results

ROOT = Path(__file__).resolve().parents[2]
PLACES = {
    (file, name)
    for file in readme.made(ROOT)
    if file.suffix == ".md"
    for name in re.findall(r"<!-- measured: ([a-z]+) -->", file.read_text(encoding="utf-8"))
}


def test_documents_say_what_the_results_file_says() -> None:
    told = [str(file.relative_to(ROOT)) for file in readme.stale(ROOT)]
    assert told == [], "python -m bench.readme writes them"


def test_every_table_stands_in_a_document() -> None:
    assert {name for _, name in PLACES} == set(readme.TABLES)
    assert (ROOT / "README.md", "headline") in PLACES


def test_a_figure_that_is_changed_by_hand_is_noticed() -> None:
    with (ROOT / "bench" / "results.jsonl").open(encoding="utf-8") as lines:
        results = Results.of(lines)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    place = text.index("<!-- measured: headline -->")
    at = place + re.search(r"p50 \d", text[place:]).end()  # type: ignore[union-attr]
    forged = text[: at - 1] + str((int(text[at - 1]) + 1) % 10) + text[at:]
    assert forged != text
    assert readme.filled(forged, results) == text


def test_a_line_names_its_machine_where_there_are_several() -> None:
    with (ROOT / "bench" / "results.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        row["machine"]["cpu"] = "Elsewhere" if row["bench"] == "inject" else "Here"
        row["machine"] |= {"cores": 2, "system": "Linux", "python": "3"}
    lines_of = headline(Results.of(map(json.dumps, rows))).splitlines()
    (admission,) = (line for line in lines_of if line.startswith("| admission"))
    (start,) = (line for line in lines_of if line.startswith("| start"))
    assert lines_of[-1].startswith("The machines: A is Elsewhere, 2 cores")
    assert "B is Here, 2 cores" in lines_of[-1]
    assert admission.endswith(", on A |")
    assert start.endswith(", on B |")
    alone = headline(Results.of(json.dumps(row) for row in rows if row["bench"] == "inject"))
    assert "on A" not in alone
    assert alone.endswith("On Elsewhere, 2 cores, Linux, Python 3.")


def test_neither_a_part_of_a_run_nor_a_disturbed_one_is_quoted() -> None:
    def row(when: str, command: str = "python -m bench.inject", **more: str) -> str:
        machine = {"cpu": "c", "cores": 2, "load": 0, "python": "3", "system": "Linux"}
        made = {"bench": "inject", "when": when, "command": command, "machine": machine}
        return json.dumps({**made, "figures": {"from": when}, **more})

    results = Results.of(
        [
            row("2026-01-03T00:00:00", disturbed="something else ran"),
            row("2026-01-01T00:00:00"),
            row("2026-01-02T00:00:00", "python -m bench.inject --only this"),
        ]
    )
    quoted = results.newest("inject")
    assert quoted is not None
    assert quoted.figures["from"] == "2026-01-01T00:00:00"


@pytest.mark.parametrize("name", sorted(readme.TABLES))
def test_what_nobody_measured_says_so(name: str) -> None:
    assert NOT_MEASURED in readme.TABLES[name](Results(()))


def test_a_picture_that_nobody_measured_says_so() -> None:
    for text in charts(Results(())).values():
        assert NOT_MEASURED in text


def test_every_table_is_remeasured_by_the_one_command() -> None:
    """Each run that is quoted is a step of ``make numbers``, or cannot be had without a GPU."""
    steps = {step.name for step in numbers.STEPS}
    quoted = set()
    for make in readme.TABLES.values():
        quoted |= set(re.findall(r"python -m bench\.([a-z_]+)", make(Results(()))))
    assert quoted - steps == {"gpu"}
