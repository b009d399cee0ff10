"""Drift is told when the traffic changed, not when chance did, and over restarts."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.config.schema import Drift
from sidecar.observe.drift import SIGNALS, Window, psi
from sidecar.observe.metrics import Registry
from sidecar.state.drift import Monitor
from sidecar.types import Decision
from tests.support.builders import call, reading


def send(monitor: Monitor, rng: random.Random, n: int, *, hard: bool = False) -> None:
    for _ in range(n):
        difficulty = rng.betavariate(6, 2) if hard else rng.betavariate(2, 6)
        decision = Decision("m", "auto", "policy", reading=reading(difficulty))
        monitor.remember(call(input_tokens=rng.choice((20, 90, 700))), decision)


def monitor(folder: Path, reference: str | None = None, version: str = "v1") -> Monitor:
    return Monitor(Drift(window=500, reference=reference), Registry(), folder, version)


def test_the_same_traffic_is_no_drift_and_other_traffic_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(1)
    watch = monitor(tmp_path)
    send(watch, rng, 2000)
    assert max(watch.index.values()) < 0.1
    assert caplog.text == ""
    send(watch, rng, 500, hard=True)
    assert watch.index["difficulty"] > 0.25
    assert watch.index["length"] < 0.1
    assert "drift: the difficulty" in caplog.text


@pytest.mark.parametrize(
    ("change", "signal"),
    [
        ({"reason": "deadline", "reading": None}, "abstain"),
        ({"reading": reading(0.3, ood=0.9)}, "ood"),
    ],
)
def test_decisions_without_a_reading_and_strange_texts_are_drift(
    tmp_path: Path, change: dict[str, object], signal: str
) -> None:
    watch = monitor(tmp_path)
    plain = Decision("m", "auto", "policy", reading=reading(0.3))
    for decision in (plain, replace(plain, **change)):  # type: ignore[arg-type]
        for _ in range(500):
            watch.remember(call(), decision)
    assert watch.index[signal] > 0.25


async def test_the_reference_is_kept_over_a_restart(tmp_path: Path) -> None:
    import asyncio

    rng = random.Random(2)
    send(monitor(tmp_path, "ref.json"), rng, 500)
    async with asyncio.timeout(20):
        while not (tmp_path / "ref.json").exists():
            await asyncio.sleep(0.02)
    again = monitor(tmp_path, "ref.json")
    send(again, rng, 500, hard=True)
    assert again.index["difficulty"] > 0.25


@pytest.mark.parametrize("text", ["", "{", "[]", '{"encoder": "v0", "counts": {}, "requests": 1}'])
def test_a_reference_that_cannot_be_used_is_kept_aside(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ref.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        watch = monitor(tmp_path, "ref.json")
    assert "kept as ref.json.unusable-" in caplog.text
    send(watch, random.Random(3), 1000)
    assert max(watch.index.values()) < 0.1


def test_the_index_of_a_window_with_itself_is_nothing() -> None:
    window = Window()
    for n in range(100):
        window.add(n / 100, 0.0, n, False)
    assert window.against(window) == dict.fromkeys(SIGNALS, 0.0)
    assert psi([0, 0], [1, 2]) == 0.0
