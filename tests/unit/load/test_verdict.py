"""Verdicts over samples whose figures are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.load import command, report
from sidecar.load.client import Sample
from sidecar.load.plan import Objectives, Plan, Price, Target
from sidecar.load.run import DIRECT, ROUTED, Leg
from sidecar.load.verdict import quantile, summarise, to_json

PRICES = {
    "small": Price(input=1.0, output=1.0),
    "large": Price(input=10.0, output=10.0, cached_input=5.0),
}


def sample(first_ms: float, **kw: Any) -> Sample:
    return replace(
        Sample(
            "short_chat",
            stream=True,
            due_s=0.0,
            late_ms=0.1,
            total_ms=first_ms + 5,
            first_ms=first_ms,
            status=200,
            model="small",
            reason="policy",
            decision_ms=first_ms / 10,
            input_tokens=1000,
            output_tokens=1000,
        ),
        **kw,
    )


def plan(**objectives: float) -> Plan:
    # made whole, as `own` makes it: a plan that names no direct leg may still have one
    return Plan(
        target=Target(url="http://127.0.0.1:1/v1"),
        objectives=Objectives(decision_p99_ms=1e6),
        prices=PRICES,
    ).model_copy(update={"objectives": Objectives(**objectives)})


def legs() -> list[Leg]:
    return [
        Leg(ROUTED, 0, tuple(sample(100 + i, gaps_ms=(10.0, 12.0)) for i in range(100))),
        Leg(DIRECT, 0, tuple(sample(90 + i, gaps_ms=(9.0, 11.0)) for i in range(100))),
    ]


def found(name: str, over: list[Leg] | None = None) -> float | None:
    return summarise(plan(**{name: 1.0}), over or legs()).verdicts[0].found


def test_a_quantile_is_a_value_that_occurred() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.99) == 4.0
    assert quantile([5.0], 0.5) == 5.0


def test_what_is_added_is_the_difference_to_the_direct_legs() -> None:
    assert found("added_first_content_p50_ms") == pytest.approx(10)
    assert found("added_first_content_p99_ms") == pytest.approx(10)
    assert found("added_gap_p50_ms") == pytest.approx(1)
    assert found("first_content_p50_ms") == pytest.approx(149)
    assert found("decision_p99_ms") == pytest.approx(19.8)


def test_an_objective_that_was_not_measured_is_missed() -> None:
    over = [Leg(ROUTED, 0, (sample(1, decision_ms=None),))]
    verdict = summarise(plan(decision_p99_ms=10), over).verdicts[0]
    assert (verdict.found, verdict.met) == (None, False)


def test_what_a_cache_remembered_is_told_apart_from_what_the_encoder_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ways = {
        "encoder": {"stages": frozenset({"parse", "classify", "decide"}), "decision_ms": 4.0},
        "cache": {"stages": frozenset({"parse", "cache", "decide"}), "decision_ms": 0.2},
        "none in time": {"stages": frozenset({"classify"}), "reason": "deadline"},
        "not needed": {"stages": frozenset({"parse", "decide"}), "reason": "explicit"},
    }
    over = [Leg(ROUTED, 0, tuple(sample(100, **how) for how in ways.values()))]
    summary = summarise(plan(decision_p99_ms=10), over)
    assert summary.readings == dict.fromkeys(ways, 1)
    assert summary.read is not None
    assert (summary.read.count, summary.read.p50) == (1, 4.0)
    assert to_json(summary)["readings"] == dict.fromkeys(ways, 1)
    told = report.story(plan(decision_p99_ms=10), summary, "here", "now", "a machine")
    assert any("25% of the decisions rest on a reading that a cache" in n for n in told.notes)
    assert any("25% of the decisions had no reading in time" in n for n in told.notes)
    done = command.Done(plan(decision_p99_ms=10), "here", "now", tuple(over), summary)
    command.show(done, Path("report.html"))
    assert "had no reading in time" in capsys.readouterr().out  # who reads no report is told too
    # a deployment that says nothing of its stages is not said to need none
    silent = summarise(plan(decision_p99_ms=10), [Leg(ROUTED, 0, (sample(100),))])
    assert silent.readings == {}


def test_a_failed_request_counts_as_an_error_and_not_as_fast() -> None:
    over = [Leg(ROUTED, 0, (sample(1000), sample(1, error="status 500"), sample(1000)))]
    assert found("error_rate", over) == pytest.approx(1 / 3)
    assert found("first_content_p50_ms", over) == 1000


def test_cost_is_of_who_answered_against_the_dearest_for_the_same_tokens() -> None:
    over = [Leg(ROUTED, 0, (sample(1), sample(1, model="large", cached_tokens=400)))]
    # small: 2000 at 1; large: 600 at 10, 400 at 5, 1000 at 10; both at large: 20,000 and 18,000
    assert found("cost_share", over) == pytest.approx((2_000 + 18_000) / (20_000 + 18_000))
    assert found("usd_per_1000", over) == pytest.approx(0.02 / 2 * 1000)
    unknown = [Leg(ROUTED, 0, (sample(1, output_tokens=None),))]
    assert found("cost_share", unknown) is None
    assert summarise(plan(cost_share=1), unknown).unpriced == 1


def test_the_spread_is_over_the_rounds() -> None:
    over = [Leg(ROUTED, 0, (sample(10),)), Leg(ROUTED, 1, (sample(30),))]
    assert summarise(plan(first_content_p50_ms=20), over).verdicts[0].spread == (10, 30)


def test_the_report_escapes_what_a_server_sent_and_names_what_was_missed() -> None:
    over = [Leg(ROUTED, 0, (sample(10, model="<script>|x"),))]
    asked = plan(first_content_p50_ms=1, error_rate=0.5)
    summary = summarise(asked, over)
    told = report.story(asked, summary, "here", "now", "a machine")
    page, text = report.page(told, {}), report.markdown(told, {})
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "| &lt;script&gt;\\|x | 1 |" in text
    assert "1 of 2 objectives missed" in page
    assert to_json(summary)["objectives"]["error_rate"]["met"] is True


def test_the_report_doubts_what_it_could_not_price_and_a_direct_way_that_failed() -> None:
    over = [
        Leg(ROUTED, 0, (sample(10), sample(10, model="third"))),
        Leg(DIRECT, 0, (sample(9), sample(9, error="status 429"))),
    ]
    asked = plan(cost_share=1)
    summary = summarise(asked, over)
    assert summary.without_price == ("third",)
    assert summary.direct_errors == {"status 429": 1}
    text = report.markdown(report.story(asked, summary, "here", "now", "a machine"), {})
    assert "The plan's prices name no third" in text
    assert "1 requests failed on the direct way" in text
    assert "| status 429 | 1 |" in text


def test_without_a_library_for_plots_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> dict[str, str]:
        raise ImportError

    monkeypatch.setattr("sidecar.load.plots.drawn", missing)
    asked = plan(error_rate=0.5)
    done = command.Done(asked, "here", "now", tuple(legs()), summarise(asked, legs()))
    page = command.report(done, tmp_path / "a[plot]")
    assert "pip install 'pointsman[plot]'" in capsys.readouterr().err
    command.show(done, page)
    assert "a[plot]" in capsys.readouterr().out
