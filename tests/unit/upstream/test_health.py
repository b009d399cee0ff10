"""Breakers and the choice of a replica, with time as a number."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.upstream.health import Health, retry_after
from tests.support.builders import spec

A = replace(spec(), base_url="http://a")
B = replace(spec(), base_url="http://b")


def fail(health: Health, which: object = A, times: int = 1, now: float = 0.0) -> None:
    for _ in range(times):
        replica = health.begin(which)  # type: ignore[arg-type]
        health.ended(replica)
        health.failed(replica, now)


def test_the_least_loaded_replica_is_asked() -> None:
    health = Health()
    assert health.pick((A, B), (), 0) == A
    busy = health.begin(A)
    assert health.pick((A, B), (), 0) == B
    health.begin(B)
    health.begin(B)
    assert health.pick((A, B), (), 0) == A
    health.ended(busy)


def test_a_replica_that_was_tried_is_not_asked_again() -> None:
    assert Health().pick((A, B), {"http://a"}, 0) == B
    assert Health().pick((A, B), {"http://a", "http://b"}, 0) is None
    assert Health().pick((A,), {"http://a"}, 0) is None


def test_five_failures_in_a_row_open_the_breaker_and_fewer_do_not() -> None:
    health = Health()
    fail(health, times=4)
    assert health.pick((A,), (), 0) == A
    fail(health)
    assert health.pick((A,), (), 0.5) is None
    assert health.pick((A, B), (), 0.5) == B


def test_a_success_in_between_forgives() -> None:
    health = Health()
    fail(health, times=4)
    replica = health.begin(A)
    health.answered(replica)
    health.ended(replica)
    fail(health, times=4)
    assert health.pick((A,), (), 0) == A


def test_one_probe_at_a_time_and_its_fate_decides() -> None:
    health = Health()
    fail(health, times=5)
    assert health.pick((A,), (), 1.0) == A  # the rest is over
    probe = health.begin(A)
    assert health.pick((A,), (), 1.0) is None  # and one is on its way
    health.ended(probe)
    health.failed(probe, 1.0)
    assert health.pick((A,), (), 2.5) is None  # twice as long this time
    assert health.pick((A,), (), 3.0) == A
    probe = health.begin(A)
    health.answered(probe)
    assert health.pick((A,), (), 3.0) == A  # closed: others may go at once


def test_the_rest_is_never_longer_than_half_a_minute() -> None:
    health = Health()
    now = 0.0
    for _ in range(40):
        fail(health, now=now)
        now += 31.0
    assert health.pick((A,), (), now) == A


def test_a_probe_whose_caller_left_does_not_block_the_next() -> None:
    health = Health()
    fail(health, times=5)
    probe = health.begin(A)
    health.ended(probe)
    assert health.pick((A,), (), 1.0) == A


def test_retry_after_is_heeded_within_reason() -> None:
    health = Health()
    replica = health.begin(A)
    health.ended(replica)
    health.failed(replica, 0.0, retry_after_s=7.0)
    assert health.pick((A,), (), 6.9) is None
    assert health.pick((A,), (), 7.0) == A
    health.failed(replica, 10.0, retry_after_s=86_400.0)
    assert health.pick((A,), (), 71.0) == A


def test_a_burst_that_fails_as_one_opens_the_breaker_as_one() -> None:
    health = Health()
    burst = [health.begin(A) for _ in range(100)]  # all under way when the upstream blinks
    for replica in burst:
        health.ended(replica)
        health.failed(replica, 0.0)
    assert health.pick((A,), (), 0.9) is None
    assert health.pick((A,), (), 1.0) == A  # and not after the half a minute of many probes


NOW = datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("3", 3.0),
        (" 12 ", 12.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:28:30 -0000", 30.0),
        ("Wednesday, 21-Oct-26 07:28:30 GMT", 30.0),  # the obsolete forms count too
        ("Wed Oct 21 07:28:30 2026", 30.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("-1", None),
        ("soon", None),
        ("1, 2", None),  # the header twice
        ("\u00b2", None),  # a digit to Python, and no number
        ("\u0663", None),
        ("nan", None),
        ("1e9", None),
        ("9" * 400, math.inf),
    ],
)
def test_a_retry_after_is_read_in_both_forms(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


def test_an_endless_retry_after_is_heeded_within_reason() -> None:
    health = Health()
    replica = health.begin(A)
    health.ended(replica)
    health.failed(replica, 0.0, retry_after("9" * 400, NOW))
    assert health.pick((A,), (), 59.0) is None
    assert health.pick((A,), (), 60.0) == A


@given(st.text(max_size=60) | st.sampled_from(["Wed, 21 Oct", ":", "GMT"]))
def test_whatever_a_retry_after_says_it_raises_nothing(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or seconds >= 0.0
