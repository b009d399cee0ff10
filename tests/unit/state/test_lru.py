"""Memories that stay small and forget in time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.state.lru import Lru


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_least_recently_used_goes_first() -> None:
    kept: Lru[str, int] = Lru(2, 10)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get("a") == 1  # and so b is the older now
    kept.put("c", 3)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (1, None, 3)
    assert kept.evicted == 1


def test_what_is_old_is_gone_however_often_it_was_used() -> None:
    time = Time()
    kept: Lru[str, int] = Lru(2, 10, time)
    kept.put("a", 1)
    time.now = 10
    assert kept.with_age("a") == (1, 10)
    time.now = 10.1
    assert kept.get("a") is None
    assert len(kept) == 0


def test_smaller_bounds_put_out_what_is_beyond_them() -> None:
    kept: Lru[int, int] = Lru(10, 10)
    for i in range(10):
        kept.put(i, i)
    kept.bound(3, 10)
    assert [kept.get(i) for i in range(10)] == [None] * 7 + [7, 8, 9]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20))), st.integers(0, 8))
def test_it_never_holds_more_than_its_limit_and_never_a_wrong_value(
    steps: list[tuple[bool, int]], limit: int
) -> None:
    kept: Lru[int, str] = Lru(limit, 1e9)
    for put, key in steps:
        if put:
            kept.put(key, f"value {key}")
        else:
            assert kept.get(key) in {None, f"value {key}"}
        assert len(kept) <= limit
