"""embed_norm: token and position embeddings, added and layer-normalised, over packed rows.

    out[t] = LayerNorm(tokens[ids[t]] + positions[t - cu[s]]),  cu[s] <= t < cu[s + 1]

Contract: ``ids`` int32 [T] holds the sequences end to end, ``cu_seqlens`` int32 [B + 1]
where each begins; both tables are fp16 or fp32 and the sums are fp32. An id outside
the vocabulary reads as ``unknown`` and a position beyond the table as its last row: a
wrong id may cost an answer's quality, never a read of someone else's memory. Rows past
``cu_seqlens[B]`` (room kept for a captured graph) come out as zeros.

Why fused: unfused it is a gather, a gather, a sum and a norm, so the [T, E] rows cross
memory seven times. Here each table row is read once and each result written once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kernels.lang import cdiv, last_at_most, options, power_of_two, tl, triton

ROWS = 8  # tokens a program: 8 x 256 numbers are 16 registers a thread at 4 warps
WARPS = 4


@triton.jit
def embed_norm_kernel(
    ids,
    cu_seqlens,
    tokens,
    positions,
    weight,
    bias,
    total,
    sequences,
    vocabulary,
    places,
    out,
    width: tl.constexpr,
    unknown: tl.constexpr,
    eps: tl.constexpr,
    rows: tl.constexpr,
    block: tl.constexpr,
):
    """One program normalises ``rows`` tokens of ``width`` numbers, padded to ``block``."""
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    inside = row < total
    sequence = last_at_most(cu_seqlens, sequences, row, 0, 0)
    filled = inside & (sequence < sequences)
    place = row - tl.load(cu_seqlens + sequence)
    place = tl.minimum(place, places - 1)
    token = tl.load(ids + row, mask=filled, other=0)
    token = tl.where((token >= 0) & (token < vocabulary), token, unknown)

    column = tl.arange(0, block)
    kept = column < width
    both = filled[:, None] & kept[None, :]
    at = token.to(tl.int64)[:, None] * width + column[None, :]
    x = tl.load(tokens + at, mask=both, other=0.0).to(tl.float32)
    at = place.to(tl.int64)[:, None] * width + column[None, :]
    x += tl.load(positions + at, mask=both, other=0.0).to(tl.float32)

    mean = tl.sum(x, 1) / width
    x = tl.where(kept[None, :], x - mean[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, 1) / width + eps)
    w = tl.load(weight + column, mask=kept, other=0.0).to(tl.float32)
    b = tl.load(bias + column, mask=kept, other=0.0).to(tl.float32)
    y = tl.where(filled[:, None], x * scale[:, None] * w[None, :] + b[None, :], 0.0)
    at = row.to(tl.int64)[:, None] * width + column[None, :]
    tl.store(out + at, y.to(out.dtype.element_ty), mask=inside[:, None] & kept[None, :])


def constants(width: int, unknown: int, eps: float) -> dict[str, int | float]:
    """What the kernel is compiled for."""
    return {
        "width": width,
        "unknown": unknown,
        "eps": eps,
        "rows": ROWS,
        "block": power_of_two(width),
    }


def launch(
    ids: Tensor,
    cu_seqlens: Tensor,
    tokens: Tensor,
    positions: Tensor,
    weight: Tensor,
    bias: Tensor,
    unknown: int = 1,
    eps: float = 1e-5,
) -> Tensor:
    """The kernel over whole, checked arguments (see :mod:`kernels.ops`)."""
    total, width = ids.shape[0], tokens.shape[1]
    out = tokens.new_empty(total, width)
    if total:
        embed_norm_kernel[(cdiv(total, ROWS),)](
            ids,
            cu_seqlens,
            tokens,
            positions,
            weight,
            bias,
            total,
            cu_seqlens.shape[0] - 1,
            tokens.shape[0],
            positions.shape[0],
            out,
            **constants(width, unknown, eps),
            **options(WARPS),
        )
    return out


def reference(
    ids: Tensor,
    cu_seqlens: Tensor,
    tokens: Tensor,
    positions: Tensor,
    weight: Tensor,
    bias: Tensor,
    unknown: int = 1,
    eps: float = 1e-5,
) -> Tensor:
    """The same in plain torch, on any device."""
    row = torch.arange(ids.shape[0], device=ids.device, dtype=torch.int32)
    sequence = torch.searchsorted(cu_seqlens, row, right=True) - 1
    filled = sequence < cu_seqlens.shape[0] - 1
    place = (row - cu_seqlens[sequence]).clamp(max=positions.shape[0] - 1)
    known = (ids >= 0) & (ids < tokens.shape[0])
    x = tokens[torch.where(known, ids, unknown)].float() + positions[place].float()
    y = functional.layer_norm(x, (tokens.shape[1],), weight.float(), bias.float(), eps)
    return (y * filled[:, None]).to(tokens.dtype)
