"""What the soak concludes: a slope that is there is found, a request that is lost is counted."""

from __future__ import annotations

import numpy as np
import pytest

from bench.drill import faulty
from bench.soak import lost, slope
from sidecar.load.client import Sample


def test_a_leak_is_told_from_noise() -> None:
    rng = np.random.default_rng(1)
    at = np.arange(0.0, 3600.0, 9.0)
    noise = rng.normal(0, 0.5, len(at))
    flat = slope(at, 130 + noise)
    leaking = slope(at, 130 + noise + at * 3 / 3600)
    assert abs(flat["per_hour"]) < 3 * flat["error"]
    assert leaking["per_hour"] == pytest.approx(3, abs=3 * leaking["error"])
    assert leaking["per_hour"] > 10 * leaking["error"]


@pytest.mark.parametrize(
    ("error", "gone"),
    [
        ("", False),
        ("status 502", False),
        ("an error event in the stream", False),
        ("the stream ended without its end", True),
        ("ServerDisconnectedError", True),
        ("no whole answer within 60 s", True),
    ],
)
def test_lost_is_who_got_neither_an_answer_nor_an_error(error: str, gone: bool) -> None:
    assert lost(Sample("s", True, 0.0, 0.0, 1.0, error=error)) is gone


def test_faults_come_in_the_last_third_of_a_period() -> None:
    assert [faulty(30, 90 + at) for at in (0, 10, 19.9, 20.1, 29.9)] == [False] * 3 + [True] * 2
    assert faulty(0, 12.3)  # without a period, always
