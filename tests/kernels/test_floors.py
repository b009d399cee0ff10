"""The floors: their arithmetic, and that the README carries what the program prints."""
# ruff: noqa: E402

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="kernels need torch: the extra `kernels`")

from kernels import floors
from kernels.compile import HERE, Sizes
from kernels.ops import OPS

SIZES = Sizes(embed=8, width=8, heads=2, queries=2, demand=3, labels=(2, 2, 1))


def test_the_readme_carries_the_printed_table():
    assert floors.kept() in (HERE / "README.md").read_text()


def test_every_op_has_a_floor():
    assert list(floors.WORK) == list(OPS)


def test_bytes_and_operations_are_those_of_the_tensors():
    batch = floors.Batch(count=3, length=5, stride=2, models=4)
    assert (batch.tokens, batch.positions) == (18, 9)
    embedded = floors.embed_norm(SIZES, batch)
    ids, rows, places, out, cu = 18, 18 * 8, 5 * 8, 18 * 8, 4  # padded to whole strides
    assert embedded.moved == (rows + out + places) * 2 + (ids + cu) * 4
    assert embedded.operations == 8 * 18 * 8
    attention = floors.varlen_attention(SIZES, batch)
    qkv, out, cu = torch.empty(9, 3, 2, 4), torch.empty(9, 8), 4 * 4
    assert attention.moved == (qkv.numel() + out.numel()) * 2 + cu
    assert attention.operations == 3 * 2 * (2 * 3 * 3 * 8)
    pooled = floors.pool_heads(SIZES, batch)
    halves = 9 * 8 + 2 * 8 + 8 * 16 + 8 + 10 * 8 + 10
    assert pooled.moved == halves * 2 + 4 * 4 + (4 * 3 + 4 + 3 * (10 + 4)) * 4
    scores, sums, mixing, heads, abilities = 9 * 2 * 8, 9 * 2 * 8, 3 * 8 * 16, 3 * 10 * 8, 3 * 4 * 3
    assert pooled.operations == 2 * (scores + sums + mixing + heads + abilities)


def test_a_floor_is_the_longer_of_memory_and_arithmetic():
    card = floors.Card("c", "c", memory=10.0, tensor=4.0, cores=2.0)
    assert floors.Work(moved=100, operations=8, tensor=True).floor(card) == 10.0
    assert floors.Work(moved=1, operations=8, tensor=True).floor(card) == 2.0
    assert floors.Work(moved=1, operations=8, tensor=False).floor(card) == 4.0
