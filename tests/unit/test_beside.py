"""Values go by the very object that they were made of, and there are never many."""

from __future__ import annotations

from sidecar.beside import Beside


def test_an_equal_object_is_another_one() -> None:
    kept: Beside[list[int], str] = Beside()
    one = [1, 2]
    assert kept.find(one) is None
    kept.keep(one, "made")
    assert kept.find(one) == "made"
    assert kept.find([1, 2]) is None


def test_what_is_kept_is_held_so_that_its_place_is_nobody_elses() -> None:
    kept: Beside[list[int], int] = Beside()
    for number in range(10_000):  # each gone at once, were it not held
        one = [number]
        assert kept.find(one) is None
        kept.keep(one, number)
        assert kept.find(one) == number


def test_there_are_never_more_than_a_few_hundred() -> None:
    kept: Beside[list[int], int] = Beside()
    many = [[number] for number in range(1000)]
    for number, one in enumerate(many):
        kept.keep(one, number)
    assert 0 < sum(kept.find(one) is not None for one in many) <= 256
    assert kept.find(many[-1]) == 999
