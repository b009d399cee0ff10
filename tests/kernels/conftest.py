"""Kernels here run in Triton's interpreter: the variable must be set before its import."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(autouse=True)
def repeatable() -> Iterator[None]:
    """One seed and one thread for every test: the interpreter gains nothing from more."""
    torch = pytest.importorskip("torch", reason="kernels need torch: the extra `kernels`")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(20261122)
    yield
    torch.set_num_threads(threads)
