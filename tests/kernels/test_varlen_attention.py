"""varlen_attention: the kernel, interpreted, against its reference and torch's attention."""
# ruff: noqa: E402

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="kernels need torch: the extra `kernels`")
pytest.importorskip("triton", reason="kernels need triton: the extra `kernels`")

from kernels.ops import OPS, KernelError
from kernels.varlen_attention import tiles
from tests.kernels.cases import BATCHES, LENGTHS, bounds, near

OP = OPS["varlen_attention"]
TYPES = [torch.float32, torch.float16]


def arguments(lengths, dtype, heads=2, depth=16, room=0, scale=1.0):
    qkv = torch.randn(sum(lengths) + room, 3, heads, depth) * scale
    return [qkv.to(dtype), bounds(lengths)]


def both(args):
    return tuple(OP(*args, backend=b) for b in ("kernel", "reference"))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("batch", BATCHES)
def test_kernel_equals_reference_on_every_kind_of_batch(batch, dtype):
    near(*both(arguments(BATCHES[batch], dtype)), dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_kernel_equals_reference_at_every_length(dtype):
    near(*both(arguments(list(LENGTHS), dtype, heads=1)), dtype)


@pytest.mark.parametrize("depth", [1, 8, 24, 33, 48, 64, 100])
@pytest.mark.parametrize("dtype", TYPES)
def test_kernel_equals_reference_at_depths_that_are_no_power_of_two(depth, dtype):
    near(*both(arguments([19, 0, 70], dtype, heads=3, depth=depth)), dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_large_scores_neither_overflow_nor_lose_the_maximum(dtype):
    """Scores reach 600, where fp32 itself is rounded by 6e-5: so much of the weights is noise."""
    found, wanted = both(arguments([90, 4], dtype, scale=12.0))
    assert found.isfinite().all()
    torch.testing.assert_close(found, wanted, atol=5e-3, rtol=5e-3)


def test_reference_is_torchs_attention():
    args = arguments([21], torch.float32, heads=4, depth=12)
    q, k, v = args[0].permute(1, 2, 0, 3)
    wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    near(OP(*args, backend="reference"), wanted.transpose(0, 1).reshape(21, 48), torch.float32)


def test_a_sequence_is_blind_to_its_neighbours():
    qkv, cu = arguments([9, 33, 5], torch.float32)
    before = OP(qkv, cu, backend="kernel")
    other = qkv.clone()
    other[:9], other[42:] = 1e4, -1e4
    assert torch.equal(OP(other, cu, backend="kernel")[9:42], before[9:42])


def test_room_past_the_last_sequence_is_zero():
    for found in both(arguments([3, 0, 40], torch.float16, room=150)):
        assert not found[43:].any()
        assert found[:43].any(1).all()


def test_the_grid_has_a_tile_for_every_row_of_any_split():
    generator = torch.Generator().manual_seed(1)
    for shift in (4, 6):
        side = 1 << shift
        for _ in range(200):
            count = int(torch.randint(0, 12, (), generator=generator))
            lengths = torch.randint(0, 3 * side, (count,), generator=generator).tolist()
            cu = bounds(lengths).tolist()
            first = [(b >> shift) + s for s, b in enumerate(cu)]
            for s, length in enumerate(lengths):
                assert first[s] + -(-length // side) <= first[s + 1]
            assert first[-1] < tiles(cu[-1], count, shift)


def test_a_wrong_argument_is_refused_by_name():
    qkv, cu = arguments([4], torch.float32)
    for message, args in {
        "qkv must be": (qkv[:, :2].contiguous(), cu),
        "qkv must be contiguous": (qkv.transpose(2, 3), cu),
        "qkv must be float16": (qkv.bfloat16(), cu),
        "cu_seqlens must be torch.int32": (qkv, cu.long()),
        "heads of 1 to 256": (torch.zeros(4, 3, 1, 300), cu),
    }.items():
        with pytest.raises(KernelError, match=message):
            OP(*args, backend="kernel")
