"""The one place that imports Triton's language, and says in words when it can't.

Contract: ``triton`` and ``tl`` are the real modules, or stand-ins that let a kernel
file be imported for its plain-torch reference on a machine without Triton. Whether
``@triton.jit`` compiles or interprets is decided when a kernel is defined, by the
environment variable TRITON_INTERPRET: set it before anything here is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

MISSING: str | None = None
try:
    import triton
    import triton.language as tl
except ImportError as error:
    MISSING = f"Triton's language is not installed ({error})"

    class _Absent:
        """Stands in for a module whose decorators are met at import."""

        constexpr = object

        @staticmethod
        def jit(function: Callable[..., Any]) -> Callable[..., Any]:
            return function

    triton = tl = _Absent()

INTERPRETED = MISSING is None and os.environ.get("TRITON_INTERPRET") == "1"


def cdiv(a: int, b: int) -> int:
    """``a / b`` rounded up."""
    return -(-a // b)


def power_of_two(n: int, least: int = 1) -> int:
    """The smallest power of two that is at least ``n`` and ``least``: a tile's side."""
    return max(least, 1 << max(n - 1, 0).bit_length())


def options(warps: int) -> dict[str, int | bool]:
    """Compiler options, the same at a launch and ahead of time: products and sums fuse.

    Two tiles of a loop are under way at once, in half precision all that this encoder's
    longest sequence has. A third would take attention on an H100 past 48 KiB of shared memory,
    which a launch gets only where its caller has raised the kernel's limit: Triton's own
    launcher does, and whether TensorRT does for a plugin is said nowhere.
    """
    return {"num_warps": warps, "num_stages": 2, "enable_fp_fusion": True}


@triton.jit
def last_at_most(cu, count, value, shift: tl.constexpr, step: tl.constexpr):
    """The largest ``s`` in 0..count with ``(cu[s] >> shift) + step * s <= value``, elementwise.

    ``cu`` int32 [count + 1] begins with 0 and never falls, so the bisection is exact;
    of equal entries (empty sequences) it finds the last, whose sequence holds the value.
    ``value`` is an int32 tensor of any shape and at least 0. Costs about log2(count)
    dependent loads, all of them from cache.
    """
    low = value * 0
    high = low + count
    span = count
    while span > 0:
        middle = (low + high + 1) // 2
        fits = (tl.load(cu + middle) >> shift) + step * middle <= value
        low = tl.where(fits, middle, low)
        high = tl.where(fits, high, middle - 1)
        span = span // 2
    return low
