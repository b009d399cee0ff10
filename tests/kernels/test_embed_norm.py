"""embed_norm: the kernel, interpreted, against its reference and against torch's own layers."""
# ruff: noqa: E402

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="kernels need torch: the extra `kernels`")
pytest.importorskip("triton", reason="kernels need triton: the extra `kernels`")

from kernels.ops import OPS, KernelError, pack
from tests.kernels.cases import BATCHES, LENGTHS, bounds, near

OP = OPS["embed_norm"]
TYPES = [torch.float32, torch.float16]
VOCABULARY = 61


def arguments(lengths, dtype, width=48, places=512, room=0):
    total = sum(lengths) + room
    ids = torch.randint(0, VOCABULARY, (total,), dtype=torch.int32)
    table = torch.randn(VOCABULARY, width, dtype=dtype)
    positions = torch.randn(places, width, dtype=dtype)
    weight, bias = torch.randn(2, width, dtype=dtype).contiguous()
    return [ids, bounds(lengths), table, positions, weight, bias]


def both(args, **options):
    return tuple(OP(*args, backend=b, **options) for b in ("kernel", "reference"))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("batch", BATCHES)
def test_kernel_equals_reference_on_every_kind_of_batch(batch, dtype):
    near(*both(arguments(BATCHES[batch], dtype)), dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_kernel_equals_reference_at_every_length(dtype):
    near(*both(arguments(list(LENGTHS), dtype, width=16)), dtype)


@pytest.mark.parametrize("width", [1, 3, 31, 33, 100, 192, 257])
@pytest.mark.parametrize("dtype", TYPES)
def test_kernel_equals_reference_at_odd_widths(width, dtype):
    near(*both(arguments([9, 0, 4], dtype, width=width)), dtype)


def test_reference_is_embedding_sum_and_layer_norm():
    args = arguments([7], torch.float32)
    ids, _, tokens, positions, weight, bias = args
    x = torch.nn.functional.embedding(ids, tokens) + positions[:7]
    wanted = torch.nn.functional.layer_norm(x, (48,), weight, bias)
    near(OP(*args, backend="reference"), wanted, torch.float32)


def test_ids_out_of_the_vocabulary_read_as_unknown_and_nothing_else():
    args = arguments([6], torch.float32)
    wild = args[0].clone()
    wild[1], wild[3], wild[5] = -1, VOCABULARY, 2**31 - 1
    tame = wild.clone()
    tame[[1, 3, 5]] = 2
    wanted = OP(tame, *args[1:], backend="reference")
    for found in both([wild, *args[1:]], unknown=2):
        near(found, wanted, torch.float32)


def test_positions_past_the_table_read_its_last_row():
    near(*both(arguments([20, 3], torch.float32, places=8)), torch.float32)


def test_room_past_the_last_sequence_is_zero():
    for found in both(arguments([3, 0, 2], torch.float16, room=6)):
        assert found.shape[0] == 11
        assert not found[5:].any()
        assert found[:5].any(1).all()


def test_a_wrong_argument_is_refused_by_name():
    args = arguments([4], torch.float32)
    wrong = {
        "ids must be torch.int32": (0, args[0].long()),
        "cu_seqlens must hold": (1, args[1][:0]),
        "positions must be": (3, args[3][:, :5].contiguous()),
        "tokens must be float16 or float32": (2, args[2].double()),
        "weight must be torch.float32": (4, args[4].half()),
        "bias must be contiguous": (5, torch.randn(96)[::2]),
    }
    for message, (place, value) in wrong.items():
        with pytest.raises(KernelError, match=message):
            OP(*args[:place], value, *args[place + 1 :], backend="kernel")
    with pytest.raises(KernelError, match="unknown must be a row"):
        OP(*args, unknown=VOCABULARY, backend="kernel")


def test_rows_are_packed_in_whole_strides():
    ids, cu = pack([[5, 6, 7], [], [8]], stride=2)
    assert ids.tolist() == [5, 6, 7, 0, 8, 0]
    assert cu.tolist() == [0, 4, 4, 6]
    assert ids.dtype == cu.dtype == torch.int32
