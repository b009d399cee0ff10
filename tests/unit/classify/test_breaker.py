"""The breaker opens on a run of failures, not on a few, and its probes stay frequent."""

from __future__ import annotations

from sidecar.classify.breaker import FIRST_S, LONGEST_S, WINDOW, Breaker


def closed(failures: int = 5) -> Breaker:
    breaker = Breaker(failures)
    breaker.close()
    return breaker


def test_it_is_open_until_a_probe_is_good() -> None:
    breaker = Breaker(5)
    assert not breaker.closed
    assert not breaker.record(False)  # nothing counts while nothing is asked
    breaker.close()
    assert breaker.closed


def test_it_opens_at_so_many_failures_of_the_last_calls() -> None:
    breaker = closed()
    for _ in range(4):
        assert not breaker.record(False)
        assert not breaker.record(True)
    assert breaker.record(False)
    assert not breaker.closed


def test_failures_that_lie_far_apart_are_forgotten() -> None:
    breaker = closed()
    for _ in range(10):
        assert not breaker.record(False)
        for _ in range(WINDOW // 4):
            assert not breaker.record(True)
    assert breaker.closed


def test_only_the_call_that_opens_it_says_so() -> None:
    breaker = closed(1)
    assert breaker.record(False)
    assert not breaker.record(False)
    assert not breaker.open()


def test_a_closed_breaker_holds_nothing_against_the_server() -> None:
    breaker = closed(2)
    breaker.record(False)
    breaker.record(False)
    breaker.close()
    assert not breaker.record(False)
    assert breaker.closed


def test_probes_start_soon_and_back_off_to_a_bound() -> None:
    breaker = closed(1)
    breaker.open()
    waits = [breaker.wait_s(probes) for probes in range(20)]
    assert FIRST_S * 0.75 <= waits[0] <= FIRST_S * 1.25
    assert waits[2] > waits[0]
    assert max(waits) <= LONGEST_S * 1.25 < 2.0  # of the five seconds to return in


def test_a_server_that_fails_in_use_after_each_good_probe_is_probed_less_often() -> None:
    breaker = closed(1)
    for _ in range(4):
        breaker.record(False)
        breaker.close()
    breaker.record(False)
    assert breaker.wait_s(0) >= LONGEST_S * 0.75
    breaker.close()
    for _ in range(WINDOW):
        breaker.record(True)  # it keeps its word again
    breaker.open()
    assert breaker.wait_s(0) <= FIRST_S * 1.25
