"""varlen_attention: self-attention over packed sequences, no padding anywhere.

    out[t, h] = sum_u softmax_u(q[t, h] . k[u, h] / sqrt(D)) v[u, h],  u in t's sequence

Contract: ``qkv`` [T, 3, H, D] fp16 or fp32 holds the sequences end to end,
``cu_seqlens`` int32 [B + 1] where each begins; the result is [T, H * D]. Scores, sums
and the running maximum are fp32, so a long row does not overflow half precision.
Attention is not causal. Rows past ``cu_seqlens[B]`` come out as zeros.

How: one program owns a tile of queries of one sequence and one head, and passes over
the keys once, rescaling what it has whenever the maximum rises (online softmax, Milakov
and Gimelshein 2018; tiled as in FlashAttention, Dao et al. 2022, algorithm 1).

The grid depends only on T and B, not on the lengths: sequence ``s`` is given the tiles
from ``cu[s] // M + s`` on, and because ``floor(a + n) - floor(a) + 1 >= ceil(n)`` the
next sequence begins late enough for all of its tiles. So no length is ever copied to
the host, one captured graph serves every batch of a size, and a TensorRT plugin can
write the grid as an expression of shapes. At most one tile a sequence and head finds
nothing to do and leaves at once.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from kernels.lang import last_at_most, options, power_of_two, tl, triton

WARPS = 4
LOG2_E = 1.4426950408889634


@triton.jit
def varlen_attention_kernel(
    qkv,
    cu_seqlens,
    total,
    sequences,
    out,
    heads: tl.constexpr,
    depth: tl.constexpr,
    scale: tl.constexpr,
    shift: tl.constexpr,
    block_n: tl.constexpr,
    block_d: tl.constexpr,
    precision: tl.constexpr,
):
    """One program: ``1 << shift`` queries of one sequence and head against all its keys.

    ``scale`` is 1 / sqrt(depth) times log2(e): the exponentials are of base two.
    """
    block_m: tl.constexpr = 1 << shift
    tile = tl.program_id(0)
    head = tl.program_id(1)
    sequence = last_at_most(cu_seqlens, sequences, tile, shift, 1)
    start = tl.load(cu_seqlens + sequence)
    first = start + (tile - (start >> shift) - sequence) * block_m
    row = first + tl.arange(0, block_m)
    column = tl.arange(0, block_d)
    kept = column < depth
    result = row.to(tl.int64)[:, None] * (heads * depth) + head * depth + column[None, :]
    if sequence == sequences:  # room past the last sequence: zeros, so that nothing is undefined
        left = (row < total)[:, None] & kept[None, :]
        zeros = tl.zeros((block_m, block_d), out.dtype.element_ty)
        tl.store(out + result, zeros, mask=left)
        return
    end = tl.load(cu_seqlens + sequence + 1)
    if first >= end:
        return

    asked = (row < end)[:, None] & kept[None, :]
    step = 3 * heads * depth
    own = row.to(tl.int64)[:, None] * step + head * depth + column[None, :]
    q = tl.load(qkv + own, mask=asked, other=0.0)
    best = tl.full((block_m,), -float("inf"), tl.float32)
    weight = tl.zeros((block_m,), tl.float32)
    mixed = tl.zeros((block_m, block_d), tl.float32)
    for begin in range(start, end, block_n):
        key = begin + tl.arange(0, block_n)
        there = key < end
        at = key.to(tl.int64)[:, None] * step + head * depth + column[None, :]
        both = there[:, None] & kept[None, :]
        k = tl.load(qkv + at + heads * depth, mask=both, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision=precision) * scale
        scores = tl.where(there[None, :], scores, -float("inf"))
        higher = tl.maximum(best, tl.max(scores, 1))  # finite: every step has a key
        p = tl.exp2(scores - higher[:, None])
        fade = tl.exp2(best - higher)
        weight = weight * fade + tl.sum(p, 1)
        v = tl.load(qkv + at + 2 * heads * depth, mask=both, other=0.0)
        mixed = tl.dot(p.to(v.dtype), v, mixed * fade[:, None], input_precision=precision)
        best = higher
    mixed = mixed / weight[:, None]
    tl.store(out + result, mixed.to(out.dtype.element_ty), mask=asked)


def constants(heads: int, depth: int, dtype: torch.dtype) -> dict[str, int | float | str]:
    """What the kernel is compiled for.

    fp32 takes tiles of 16 queries: without tensor cores the whole product of a tile
    lives in registers, and larger ones spill.
    """
    half = dtype == torch.float16
    return {
        "heads": heads,
        "depth": depth,
        "scale": depth**-0.5 * LOG2_E,
        "shift": 6 if half else 5,
        "block_n": 64 if half else 32,
        "block_d": power_of_two(depth, 16),  # tl.dot takes no side under 16
        "precision": "ieee",
    }


def tiles(total: int, sequences: int, shift: int) -> int:
    """How many tiles of ``1 << shift`` rows cover any split of ``total`` into ``sequences``.

    One more than the sequences need: the last ones clear the room past the end.
    """
    return (total >> shift) + sequences + 1


def launch(qkv: Tensor, cu_seqlens: Tensor) -> Tensor:
    """The kernel over whole, checked arguments (see :mod:`kernels.ops`)."""
    total, _, heads, depth = qkv.shape
    sequences = cu_seqlens.shape[0] - 1
    out = qkv.new_empty(total, heads * depth)
    if total:
        chosen = constants(heads, depth, qkv.dtype)
        grid = (tiles(total, sequences, int(chosen["shift"])), heads)
        varlen_attention_kernel[grid](
            qkv, cu_seqlens, total, sequences, out, **chosen, **options(WARPS)
        )
    return out


def reference(qkv: Tensor, cu_seqlens: Tensor) -> Tensor:
    """The same in plain torch: one sequence after the other, in fp32."""
    total, _, heads, depth = qkv.shape
    out = qkv.new_zeros(total, heads, depth)
    bounds = cu_seqlens.tolist()
    for start, end in pairwise(bounds):
        q, k, v = qkv[start:end].float().permute(1, 2, 0, 3)
        weights = (q @ k.transpose(-1, -2) * depth**-0.5).softmax(-1)
        out[start:end] = (weights @ v).transpose(0, 1).to(qkv.dtype)
    return out.reshape(total, heads * depth)
