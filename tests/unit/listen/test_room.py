"""Room for bodies: counted while they are held, and by the container's limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.listen.room import Room, most_by_memory


def test_what_is_claimed_is_held_until_it_is_let_go() -> None:
    room = Room()
    first, second = room.claim(60, 100), room.claim(40, 100)
    assert first is not None
    assert second is not None
    assert room.held == 100
    assert room.claim(1, 100) is None
    del first
    assert room.held == 40
    assert room.claim(60, 100) is not None
    assert room.claim(10**9, None) is not None
    del second
    assert room.held == 0


def test_one_body_is_let_in_whatever_its_size() -> None:
    room = Room()
    large = room.claim(1000, 100)
    assert large is not None
    assert room.claim(1, 100) is None


@pytest.mark.parametrize(
    ("said", "most"),
    [
        (str(512 << 20), (512 - 192 << 20) // 3),
        (str(100 << 20), 16 << 20),  # too small to work in, and not nothing
        ("max", None),
        ("9223372036854771712", None),
        ("", None),
    ],
)
def test_the_memory_limit_says_how_much(said: str, most: int | None, tmp_path: Path) -> None:
    file = tmp_path / "memory.max"
    file.write_text(said)
    assert most_by_memory((tmp_path / "missing", file)) == most
