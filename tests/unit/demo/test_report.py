"""The bill adds up, and a person can read it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from sidecar.demo import report
from sidecar.demo.feed import PlainFeed, feed
from sidecar.demo.report import Example, percentile
from sidecar.demo.site import Site, lay_out
from sidecar.demo.traffic import Ask, Result


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return lay_out(tmp_path, "http://127.0.0.1:9/v1")


def result(model: str, ms: float = 2.0, error: str = "", reason: str = "policy") -> Result:
    ask = Ask("qa-01", "qa", False, {"messages": [{"role": "user", "content": "Hi\n there"}]})
    return Result(ask, 0.1, model, reason, ms, 1_000_000, 0, 100_000, error)


def test_costs_are_the_tokens_at_the_chosen_and_at_the_dearest_price(site: Site) -> None:
    results = [result("llama-3.1-8b"), result("gpt-4o")]
    summary = report.summarise(results, site, 1.0, "onnx")
    small, large = site.prices["llama-3.1-8b"], site.prices["gpt-4o"]
    full = large.input + large.output / 10
    assert summary.cost_usd == pytest.approx(small.input + small.output / 10 + full)
    assert summary.cost_always_strong_usd == pytest.approx(2 * full)
    assert summary.saving == pytest.approx(1 - summary.cost_usd / (2 * full))


def test_a_failed_request_is_an_error_and_no_models(site: Site) -> None:
    results = [result("llama-3.1-8b"), result("gpt-4o", error="BadRequestError: no")]
    said = report.summarise(results, site, 1.0, "onnx").to_json()
    assert (said["requests"], said["errors"]) == (2, 1)
    assert said["models"] == {"llama-3.1-8b": 1, "llama-3.1-70b": 0, "gpt-4o": 0}
    assert said["reasons"] == {"policy": 1}


def test_the_json_has_what_scripts_read(site: Site) -> None:
    said = report.summarise([result("gpt-4o", ms=3.5)], site, 1.0, "onnx").to_json()
    assert said["decision_ms"] == {"p50": 3.5, "p99": 3.5}
    assert said["backend"] == "onnx"
    assert {"requests", "errors", "models", "cost_usd", "cost_always_strong_usd"} <= set(said)


def test_nothing_answered_is_no_division_by_nothing(site: Site) -> None:
    summary = report.summarise([result("", error="gone")], site, 1.0, "gone")
    assert summary.saving == 0.0
    _shown(summary, site, 80)


def test_many_late_readings_are_said_to_be_the_machines(site: Site) -> None:
    fine, late = result("llama-3.1-8b"), result("gpt-4o", reason="deadline")
    few = report.summarise([*[fine] * 95, *[late] * 5], site, 1.0, "onnx")
    many = report.summarise([*[fine] * 80, *[late] * 20], site, 1.0, "onnx")
    assert "no reading in time and went" not in _shown(few, site, 300)
    assert "20% of the requests had no reading in time" in _shown(many, site, 300)
    assert "classifier.deadline_ms" in _shown(many, site, 300)


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(n) for n in range(1, 201)]
    assert (percentile(values, 0.5), percentile(values, 0.99)) == (100.0, 198.0)
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([], 0.5) is None


def _shown(summary: report.Summary, site: Site, width: int) -> str:
    out = io.StringIO()
    examples = [
        Example("word " * 60, 0.1, "llama-3.1-70b", "policy"),
        Example("[bold]not markup[/bold]", 0.9, "gpt-4o", "capability"),
    ]
    report.render(Console(file=out, width=width), summary, examples, site)
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 72, 80, 96, 120])
@pytest.mark.parametrize("large", [1, 99])
def test_the_report_is_plain_text_within_the_width_where_no_terminal_reads_it(
    site: Site, width: int, large: int
) -> None:
    results = [result("llama-3.1-8b"), *[result("gpt-4o")] * large, result("", error="[x] no")]
    text = _shown(report.summarise(results, site, 1.0, "onnx"), site, width)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= width
    assert "[bold]not markup[/bold]" in text
    assert "qa-01: [x] no" in text
    for whole in ("llama-3.1-70b", "always strong", "saved"):
        assert whole in text
    if width >= 72:
        assert "difficulty" in text
        assert "capability" in text
    # whatever had to go, every model has its name, its requests, its share and its whole cost
    lines = text.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("model"))
    assert "…" not in "".join(lines[first : first + 4])
    for line, name, count in zip(lines[first + 1 :], site.prices, (1, 0, large), strict=False):
        cells = line.split()
        assert cells[0] == name
        assert str(count) in cells
        assert f"{count / (1 + large):.0%}" in line
        assert re.fullmatch(r"\$\d+\.\d{4}", cells[-1])
    assert ("$/M out" in text) == (width >= 72)


def test_small_costs_are_no_zeros_and_stand_below_each_other(site: Site) -> None:
    ask = Ask("qa-01", "qa", False, {"messages": [{"role": "user", "content": "Hi"}]})
    results = [
        Result(ask, 0.1, "llama-3.1-8b", "policy", 2.0, 100, 0, 50, ""),
        Result(ask, 0.1, "gpt-4o", "policy", 2.0, 4000, 0, 500, ""),
    ]
    text = _shown(report.summarise(results, site, 1.0, "onnx"), site, 80)
    costs = re.findall(r"^(?:llama-3.1-8b|gpt-4o) .*?(\$[\d.]+)\s*$", text, re.MULTILINE)
    assert costs == ["$0.000015", "$0.015000"]


def test_a_log_gets_plain_lines_and_every_failure() -> None:
    out = io.StringIO()
    shown = feed(Console(file=out, width=80), 16)
    assert isinstance(shown, PlainFeed)
    with shown:
        for n in range(16):
            shown.show(result("gpt-4o", error="[boom]" if n == 3 else ""))
    lines = out.getvalue().splitlines()
    assert lines[-1] == "16/16 requests answered"
    assert "qa-01: [boom]" in lines
    assert len(lines) < 12


def test_a_terminal_gets_the_decisions_as_they_come() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, force_interactive=True)
    with feed(console, 2) as shown:
        shown.show(result("llama-3.1-8b"))
        shown.show(result("gpt-4o", error="boom"))
    text = out.getvalue()
    assert "Hi there" in text
    assert "llama-3.1-8b" in text
    assert "1 failed" in text
