"""Batches of every kind that a packed kernel must get right, and how near is near.

Tolerances: in fp32 kernel and reference differ by the order of sums, in fp16 by one
rounding of the result to half (2^-11 relative), since both keep every sum in fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor

ABSOLUTE = {torch.float32: 2e-5, torch.float16: 2e-3}
RELATIVE = {torch.float32: 1e-5, torch.float16: 2e-3}

BATCHES = {
    "one token": [1],
    "one sequence": [37],
    "single-token sequences": [1, 1, 1, 1, 1],
    "empty among others": [0, 3, 0, 0, 17, 0],
    "all empty": [0, 0, 0],
    "no sequence": [],
    "at tile borders": [16, 32, 63, 64, 65, 128],
    "ragged": [5, 130, 1, 31, 2, 77, 96],
    "many short": [3, 2, 4, 1] * 20,
    "longest": [1, 512],
}
LENGTHS = (1, 2, 3, 7, 16, 17, 33, 63, 64, 65, 129, 256, 512)


def bounds(lengths: list[int]) -> Tensor:
    """cu_seqlens of sequences of these lengths."""
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)


def near(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    """Assert equal within the type's tolerance, and of the same type and shape."""
    torch.testing.assert_close(found, wanted, atol=ABSOLUTE[dtype], rtol=RELATIVE[dtype])
