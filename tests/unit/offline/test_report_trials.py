"""A report compares arms and shadows honestly, and tells quality by tenant."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from sidecar.cli import main
from sidecar.offline.intervals import bootstrap, difference, wilson
from sidecar.offline.report import summed


def row(number: int, **fields: Any) -> bytes:
    said = {
        "time": f"2026-11-22T12:{number // 60 % 60:02}:{number % 60:02}.000+00:00",
        "request_id": f"r{number}", "route": "auto", "decided": "small", "reason": "policy",
        "model": "small", "answered": "policy", "status": 200, "ended": "complete",
        "tenant": "acme", "tokens": {"input": 100, "output": 50}, "cost_usd": 0.001,
        "cost_strong_usd": 0.01, "failed": [],
        "candidates": [{"model": "small", "p": 0.8, "cost_usd": 0.001}],
        "reading": {"difficulty": 0.3, "ood": 0.02}, "ms": {"decision": 1.0},
    }  # fmt: skip
    return orjson.dumps({**said, **fields})


def test_the_arms_are_compared_with_intervals() -> None:
    rng = random.Random(1)
    lines = []
    for number in range(800):
        arm = "bold" if number % 2 else "control"
        cost = rng.gauss(0.001 if arm == "bold" else 0.003, 0.0005)
        lines.append(row(number, arm=arm, cost_usd=cost))
        score = float(rng.random() < 0.7)
        lines.append(orjson.dumps({"kind": "feedback", "route": "auto", "model": "small",
                                   "tenant": "acme", "arm": arm, "score": score}))  # fmt: skip
    report = summed(lines).as_dict()
    bold, control = report["arms"]["auto"]["bold"], report["arms"]["auto"]["control"]
    low, high = bold["cost_usd"]["against_control"]
    assert low < -0.002 < high < 0  # cheaper for certain
    low, high = bold["score"]["against_control"]
    assert low < 0 < high  # and nobody can say worse
    assert "against_control" not in control["cost_usd"]
    assert report["bad_lines"] == 0
    assert report["scores"] == 800


def test_a_shadow_is_priced_over_the_same_tokens() -> None:
    shadow = {"route": "auto", "model": "small", "reason": "policy", "p": 0.7, "cost_usd": 0.0002}
    late = {**shadow, "reason": "deadline", "model": "large"}
    error = {"route": "auto", "model": None, "error": "no_capable_model"}
    lines = [row(n, route="prod", decided="large", shadow=shadow) for n in range(10)]
    lines += [row(11, route="prod", shadow=late), row(12, route="prod", shadow=error)]
    said = summed(lines).as_dict()["shadows"]["prod -> auto"]
    assert (said["requests"], said["undecided"]) == (12, 2)
    assert said["cost_usd"] == pytest.approx(0.01)
    assert said["shadow_usd"] == pytest.approx(0.002)
    assert said["saved_share"] == pytest.approx(0.8)
    assert said["same_model"]["share"] == 0.0


def test_who_reads_only_the_terminal_is_told_what_is_known_and_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The arms beside control, a share that failed in per cent, a shadow of a route that has
    no chances, and what could not be decided."""
    rng = random.Random(2)
    shadow = {"route": "auto", "model": "small", "reason": "policy", "p": 0.7, "cost_usd": 0.0005}
    late = {**shadow, "reason": "deadline"}
    lines = [row(n, route="prod", candidates=[], shadow=shadow) for n in range(6)]
    lines += [row(n, route="prod", candidates=[], shadow=late) for n in range(4)]
    for number in range(600):
        arm = "bold" if number % 2 else "control"
        cost = rng.gauss(0.001 if arm == "bold" else 0.003, 0.0005)
        lines.append(row(number, arm=arm, cost_usd=cost))
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\n".join(lines))
    assert main(["report", str(log)]) == 0
    said = capsys.readouterr().out
    assert "(50.0% saved), the same model for 100.0%, chance 0.700\n" in said
    assert "4 of them undecided" in said
    assert "0.0% (0.0% to 1.3%)" in said
    (beside,) = re.findall(r"^bold +(-0\.00\S+) \((-0\.00\S+) to (-0\.00\S+)\)", said, re.M)
    mean, low, high = map(float, beside)
    assert low < mean < high < 0
    assert mean == pytest.approx(-0.002, rel=0.1)


def test_quality_and_suspicion_are_told_by_tenant() -> None:
    lines = [row(n, tenant="a" if n % 2 else "b") for n in range(10)]
    unsure = [{"model": "small", "p": 0.2, "cost_usd": 0}]
    lines += [row(20, tenant="b", flip="down"), row(21, tenant="a", candidates=unsure)]
    lines.append(orjson.dumps({"kind": "feedback", "route": "auto", "model": "small",
                               "tenant": "a", "arm": None, "score": 0.25}))  # fmt: skip
    tenants = summed(lines).as_dict()["tenants"]
    assert tenants["a"]["score"] == 0.25
    assert tenants["b"]["score"] is None
    assert tenants["a"]["chance"] == pytest.approx(0.7)
    assert tenants["b"]["suspicious_flips"] == {"up": 0, "down": 1}


def test_a_log_of_before_there_were_arms_is_read_as_it_was() -> None:
    report = summed([row(n) for n in range(3)]).as_dict()
    assert report["arms"] == report["shadows"] == {}
    assert report["requests"] == 3
    assert report["drift"] is None


def test_drift_in_a_log_is_found_and_no_drift_is_not() -> None:
    rng = random.Random(2)

    def reading(hard: bool) -> dict[str, float]:
        return {"difficulty": rng.betavariate(6, 2) if hard else rng.betavariate(2, 6), "ood": 0.01}

    steady = [row(n, reading=reading(False)) for n in range(1000)]
    moved = [row(n, reading=reading(n >= 900)) for n in range(1000)]
    assert summed(steady).as_dict()["drift"]["alarms"] == []
    assert summed(moved).as_dict()["drift"]["alarms"] == ["difficulty"]


def test_intervals_hold_what_they_should_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    hits = {"wilson": 0, "bootstrap": 0, "difference": 0}
    for trial in range(200):
        share = wilson(int((rng.random(80) < 0.3).sum()), 80)
        mean = bootstrap(rng.exponential(1.0, 60), seed=trial)
        apart = difference(rng.normal(1.0, 1.0, 60), rng.normal(0.5, 1.0, 60), seed=trial)
        assert share
        assert mean
        assert apart
        hits["wilson"] += share[0] <= 0.3 <= share[1]
        hits["bootstrap"] += mean[0] <= 1.0 <= mean[1]
        hits["difference"] += apart[0] <= 0.5 <= apart[1]
    assert all(170 <= count <= 200 for count in hits.values()), hits
    assert wilson(0, 0) is None
    assert bootstrap([1.0]) is None


@pytest.mark.parametrize(
    "line",
    [
        row(1)[: len(row(1)) // 2],  # the disk was full
        b"null",
        b"[1]",
        row(1, ms=None),
        row(1, ms={}),
        row(1, time="2026-11-22T12:00:00"),  # of which zone
        row(1, tokens=None),
        row(1, cost_usd="dear"),
        row(1, candidates=[{"model": "small"}]),
        row(1, failed=[{}]),
        row(1, shadow=3),
        row(1, shadow={"route": "auto", "model": "small"}),
        row(1, arm=["bold"]),
        row(1, reading={"difficulty": "high"}),
        b'{"kind": "feedback", "route": "auto", "score": 1}',
        b'{"kind": "feedback", "route": "auto", "model": "small", "score": "good"}',
    ],
)
def test_a_line_that_is_no_decision_is_counted_and_nothing_of_it_is_summed(line: bytes) -> None:
    good = [row(0), row(2)]
    alone = summed(good).as_dict()
    among = summed([good[0], line, good[1]]).as_dict()
    assert among == {**alone, "bad_lines": 1}
