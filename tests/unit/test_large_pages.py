"""Memory that stays comes into large pages, and only such memory is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sidecar import large_pages

MAPS = """\
00400000-00800000 r-xp 00000000 fe:00 131 /usr/bin/python
01a00000-01c00000 rw-p 00000000 00:00 0 [heap]
7f0000100000-7f0000700000 rw-p 00000000 00:00 0\x20
7f0001000000-7f0001100000 rw-p 00000000 00:00 0\x20
7f0002000000-7f0002400000 r--p 00000000 00:00 0\x20
7f0003000000-7f0003400000 rw-s 00000000 00:01 5 /dev/shm/told by others
7ffc00000000-7ffc00800000 rw-p 00000000 00:00 0 [stack]
"""
HELD = """
import mmap, numpy
from sidecar import large_pages
def huge():
    for line in open("/proc/self/smaps_rollup"):
        if line.startswith("AnonHugePages"):
            return int(line.split()[1]) << 10
held = mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
held.madvise(mmap.MADV_NOHUGEPAGE)
for at in range(0, len(held), 4096):
    held[at] = at >> 12 & 255
held.madvise(mmap.MADV_HUGEPAGE)
before = huge()
done = large_pages.settle()
assert all(held[at] == at >> 12 & 255 for at in range(0, len(held), 4096))
print(done, huge() - before)
"""


def test_regions_are_whole_pages_of_the_heap_and_of_memory_of_its_own() -> None:
    size = large_pages.SIZE
    assert list(large_pages.regions(MAPS)) == [
        (0x01A00000, size),
        (0x7F0000200000, 2 * size),  # from and to the next whole one
    ]


def test_what_is_held_stays_what_it_was_and_comes_into_large_pages() -> None:
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not setting.exists() or "[never]" in setting.read_text():
        pytest.skip("this kernel has no large pages to give")
    run = subprocess.run(
        [sys.executable, "-c", HELD], capture_output=True, text=True, check=True, timeout=60
    )
    done, grown = map(int, run.stdout.split())
    if not done:
        pytest.skip("this kernel does not do so at once (before Linux 6.1)")
    assert grown >= 8 << 20


def test_a_kernel_without_them_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_pages, "_COLLAPSE", 9999)  # no advice that any kernel knows
    assert large_pages.settle() == 0
    monkeypatch.setattr(large_pages, "_MAPS", Path("/proc/self/no such file"))
    assert large_pages.settle() == 0
