"""pool_heads: the kernel, interpreted, against its reference and the training's heads."""
# ruff: noqa: E402

from __future__ import annotations

from itertools import pairwise

import pytest

torch = pytest.importorskip("torch", reason="kernels need torch: the extra `kernels`")
pytest.importorskip("triton", reason="kernels need triton: the extra `kernels`")

from kernels.ops import OPS, KernelError
from tests.kernels.cases import BATCHES, LENGTHS, bounds, near

OP = OPS["pool_heads"]
TYPES = [torch.float32, torch.float16]
LABELS = (17, 9, 3)


def arguments(lengths, dtype, width=24, queries=4, demand=8, models=5, labels=LABELS):
    count = demand + sum(labels) + 2
    fan = width**-0.5  # weights as large as a network's, so that sums stay near 1
    numbers = [
        torch.randn(sum(lengths), width),
        torch.randn(queries, width) * fan,
        torch.randn(width, queries * width) * fan,
        torch.randn(width),
        torch.randn(count, width) * fan,
        torch.randn(count),
    ]
    x, *rest = (n.to(dtype) for n in numbers)
    return [x, bounds(lengths), *rest, torch.randn(models, demand), torch.randn(models), labels]


def agree(args):
    """Both results are fp32 and so are all sums: fp16 only rounds what both read."""
    kernel, reference = (OP(*args, backend=b) for b in ("kernel", "reference"))
    for found, wanted in zip(kernel, reference, strict=True):
        near(found, wanted, torch.float32)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("batch", BATCHES)
def test_kernel_equals_reference_on_every_kind_of_batch(batch, dtype):
    agree(arguments(BATCHES[batch], dtype))


@pytest.mark.parametrize("dtype", TYPES)
def test_kernel_equals_reference_at_every_length(dtype):
    agree(arguments(list(LENGTHS), dtype, width=16))


@pytest.mark.parametrize(
    ("width", "queries", "demand", "models", "labels"),
    [
        (1, 1, 1, 1, (1, 1, 1)),
        (5, 3, 7, 33, (2, 1, 4)),
        (33, 4, 32, 85, LABELS),
        (192, 4, 32, 85, LABELS),
        (40, 2, 3, 0, LABELS),
    ],
)
@pytest.mark.parametrize("dtype", TYPES)
def test_kernel_equals_reference_at_odd_sizes(width, queries, demand, models, labels, dtype):
    agree(arguments([3, 0, 11], dtype, width, queries, demand, models, labels))


def test_a_query_of_zeros_pools_the_mean():
    args = arguments([6, 3], torch.float32, queries=1)
    args[2] = torch.zeros_like(args[2])
    x, cu, _, mix, mix_bias, head, head_bias, slope, shift, _ = args
    means = torch.stack([x[a:b].mean(0) for a, b in pairwise(cu)])
    z = (torch.tanh(means @ mix.T + mix_bias) @ head.T + head_bias)[:, : slope.shape[1]]
    found, suffices = OP(*args, backend="kernel")
    near(found[:, : slope.shape[1]], z, torch.float32)
    near(suffices, (z @ slope.T + shift).sigmoid(), torch.float32)


def test_an_empty_sequence_reads_as_a_pooled_vector_of_zeros():
    args = arguments([0], torch.float32)
    z = (torch.tanh(args[4]) @ args[5].T + args[6])[: args[7].shape[1]]
    near(OP(*args, backend="kernel")[0][0, : len(z)], z, torch.float32)


def test_probabilities_are_probabilities_even_of_huge_logits():
    args = arguments([4, 4], torch.float32)
    args[5] = args[5] * 1e3
    heads, suffices = OP(*args, backend="kernel")
    assert heads.isfinite().all()
    assert suffices.isfinite().all()
    for part in heads[:, 8:].split([*LABELS, 2], 1)[:3]:
        torch.testing.assert_close(part.sum(1), torch.ones(2))
    agree(args)


def test_a_wrong_argument_is_refused_by_name():
    args = arguments([4], torch.float32)
    wrong = {
        "mix must be": (3, args[3][:, :-1].contiguous()),
        "head must be": (5, args[5][:-1].contiguous()),
        "query must be": (2, args[2][:, :-1].contiguous()),
        "slope must be torch.float32": (7, args[7].half()),
        "mix_bias must be torch.float32": (4, args[4].half()),
        "labels must be": (9, (17, 9)),
    }
    for message, (place, value) in wrong.items():
        with pytest.raises(KernelError, match=message):
            OP(*args[:place], value, *args[place + 1 :], backend="kernel")
