"""What the process holds for good, in pages of 2 MB where the kernel has them.

A reading touches some megabytes of weights and buffers: more than a thousand pages of 4 KB. On
a machine that has been idle for a moment, a virtual one above all, each of them may have to be
found anew, and that is most of what the first reading after a pause costs. In large pages there
are five hundred times fewer to find.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SIZE: Final = 2 << 20
_MAPS: Final = Path("/proc/self/maps")
_COLLAPSE: Final = 25  # MADV_COLLAPSE of Linux 6.1: at once, whatever was set for new memory


def regions(maps: str) -> Iterator[tuple[int, int]]:
    """(start, length) of whole large pages within the heap and anonymous writable memory.

    ``maps`` is as /proc/self/maps has it: proc(5).
    """
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if not fields[1].startswith("rw") or (len(fields) > 5 and fields[5] != "[heap]"):
            continue
        first, _, end = fields[0].partition("-")
        start = -(-int(first, 16) // SIZE) * SIZE
        length = int(end, 16) // SIZE * SIZE - start
        if length > 0:
            yield start, length


def settle() -> int:
    """Bring what is held now into large pages; the bytes for which the kernel did so.

    Takes some tens of milliseconds, most of them without the interpreter's lock, and a few
    megabytes more of memory.
    Where the kernel knows no such thing or refuses, nothing changes.
    """
    if sys.platform != "linux" or os.sysconf("SC_PAGE_SIZE") >= SIZE or not _MAPS.exists():
        return 0
    advise = ctypes.CDLL(None, use_errno=True).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    done = 0
    for start, length in regions(_MAPS.read_text()):
        for page in range(start, start + length, SIZE):  # one may be refused, and others not
            done += SIZE if advise(page, SIZE, _COLLAPSE) == 0 else 0
    return done
