"""pool_heads: attention pooling, mixing layer, every head and every ability, one launch.

    p[q, t] = softmax_t(x[t] . query[q])                      over the sequence's positions
    m       = tanh(mix [p[0] x; ...; p[Q - 1] x] + mix_bias)
    y       = head m + head_bias                              demand z first, K numbers
    heads   = [z, softmax(task), softmax(domain), softmax(tier), sigmoid(difficulty), sigmoid(ood)]
    suffices[i] = sigmoid(slope[i] . z + shift[i])            Reckase 2009, eq. 4.3

Contract: ``x`` [T, W] and the weights are of one type, fp16 or fp32; slopes, shifts and
both results are fp32, and so is every sum. A bias of the queries would be the same at
every position and leaves the softmax, so there is none. Mean pooling is the case of a
query that is zero: ``query`` [1, W] of zeros. An empty sequence pools to zeros, which is
``m = tanh(mix_bias)``.

Why one launch: the batch's last step is small (a few hundred thousand multiplications a
sequence) and would otherwise be some twenty launches, each longer than its work. One
program a sequence keeps the pooled vectors in registers. The mixing layer is made a few
rows at a time and each is spent at once on the heads, which are linear in it, so that
neither it nor ``m`` is ever stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from kernels.lang import options, power_of_two, tl, triton

WARPS = 8


@triton.jit
def _sigmoid(y):
    """1 / (1 + exp(-y)) without an exponential that can overflow."""
    falling = tl.exp(-tl.abs(y))
    return tl.where(y < 0, falling, 1.0) / (1.0 + falling)


@triton.jit
def _softmax_between(y, column, low: tl.constexpr, high: tl.constexpr):
    """``y`` with the numbers low..high - 1 replaced by their softmax."""
    chosen = (column >= low) & (column < high)
    top = tl.max(tl.where(chosen, y, -float("inf")), 0)
    e = tl.exp(tl.where(chosen, y - top, -float("inf")))
    return tl.where(chosen, e / tl.sum(e, 0), y)


@triton.jit
def pool_heads_kernel(
    x,
    cu_seqlens,
    query,
    mix,
    mix_bias,
    head,
    head_bias,
    slope,
    shift,
    abilities,
    heads_out,
    suffices_out,
    width: tl.constexpr,
    queries: tl.constexpr,
    demand: tl.constexpr,
    tasks: tl.constexpr,
    domains: tl.constexpr,
    tiers: tl.constexpr,
    block_l: tl.constexpr,
    block_w: tl.constexpr,
    block_q: tl.constexpr,
    block_o: tl.constexpr,
    block_h: tl.constexpr,
    block_a: tl.constexpr,
):
    """One program pools and reads one sequence."""
    count: tl.constexpr = demand + tasks + domains + tiers + 2
    sequence = tl.program_id(0).to(tl.int64)
    start = tl.load(cu_seqlens + sequence)
    end = tl.load(cu_seqlens + sequence + 1)
    wide = tl.arange(0, block_w)
    within = wide < width
    asks = tl.arange(0, block_q)
    asked = (asks < queries)[:, None] & within[None, :]

    wants = asks[:, None] * width + wide[None, :]
    wants = tl.load(query + wants, mask=asked, other=0.0).to(tl.float32)
    best = tl.full((block_q,), -float("inf"), tl.float32)
    weight = tl.zeros((block_q,), tl.float32)
    pooled = tl.zeros((block_q, block_w), tl.float32)
    for begin in range(start, end, block_l):
        row = begin + tl.arange(0, block_l)
        there = row < end
        at = row.to(tl.int64)[:, None] * width + wide[None, :]
        tile = tl.load(x + at, mask=there[:, None] & within[None, :], other=0.0).to(tl.float32)
        scores = tl.sum(tile[:, None, :] * wants[None, :, :], 2)
        scores = tl.where(there[:, None], scores, -float("inf"))
        higher = tl.maximum(best, tl.max(scores, 0))  # finite: every step has a position
        p = tl.exp(scores - higher[None, :])
        fade = tl.exp(best - higher)
        weight = weight * fade + tl.sum(p, 0)
        pooled = pooled * fade[:, None] + tl.sum(p[:, :, None] * tile[:, None, :], 0)
        best = higher
    pooled = tl.where(weight[:, None] > 0, pooled / tl.maximum(weight[:, None], 1e-30), 0.0)

    column = tl.arange(0, block_h)
    real = column < count
    y = tl.load(head_bias + column, mask=real, other=0.0).to(tl.float32)
    for first in range(0, width, block_o):
        o = first + tl.arange(0, block_o)
        made = o < width
        here = o[:, None, None] * (queries * width) + asks[None, :, None] * width
        both = made[:, None, None] & asked[None, :, :]
        rows = tl.load(mix + here + wide[None, None, :], mask=both, other=0.0).to(tl.float32)
        mixed = tl.sum(tl.sum(rows * pooled[None, :, :], 2), 1)
        mixed += tl.load(mix_bias + o, mask=made, other=0.0).to(tl.float32)
        falling = tl.exp(-2.0 * tl.abs(mixed))  # tanh that can't overflow
        mixed = (1.0 - falling) / (1.0 + falling) * tl.where(mixed < 0, -1.0, 1.0)
        cell = column[:, None] * width + o[None, :]
        some = tl.load(head + cell, mask=real[:, None] & made[None, :], other=0.0).to(tl.float32)
        y += tl.sum(some * mixed[None, :], 1)

    z = tl.where(column < demand, y, 0.0)
    y = _softmax_between(y, column, demand, demand + tasks)
    y = _softmax_between(y, column, demand + tasks, demand + tasks + domains)
    y = _softmax_between(y, column, count - 2 - tiers, count - 2)
    y = tl.where(column >= count - 2, _sigmoid(y), y)
    tl.store(heads_out + sequence * count + column, y, mask=real)

    for first in range(0, abilities, block_a):
        a = first + tl.arange(0, block_a)
        known = a < abilities
        cells = a[:, None] * demand + column[None, :]
        valid = known[:, None] & (column < demand)[None, :]
        ability = tl.load(slope + cells, mask=valid, other=0.0)
        logit = tl.sum(ability * z[None, :], 1) + tl.load(shift + a, mask=known, other=0.0)
        tl.store(suffices_out + sequence * abilities + a, _sigmoid(logit), mask=known)


def constants(width: int, queries: int, demand: int, labels: Sequence[int]) -> dict[str, int]:
    """What the kernel is compiled for; ``labels`` are the sizes of task, domain and tier."""
    tasks, domains, tiers = labels
    return {
        "width": width,
        "queries": queries,
        "demand": demand,
        "tasks": tasks,
        "domains": domains,
        "tiers": tiers,
        "block_l": 4,
        "block_w": power_of_two(width),
        "block_q": power_of_two(queries),
        "block_o": 8,
        "block_h": power_of_two(demand + sum(labels) + 2),
        "block_a": 32,
    }


def launch(
    x: Tensor,
    cu_seqlens: Tensor,
    query: Tensor,
    mix: Tensor,
    mix_bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    slope: Tensor,
    shift: Tensor,
    labels: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """The kernel over whole, checked arguments (see :mod:`kernels.ops`)."""
    sequences = cu_seqlens.shape[0] - 1
    heads = slope.new_empty(sequences, head.shape[0])
    suffices = slope.new_empty(sequences, slope.shape[0])
    if sequences:
        pool_heads_kernel[(sequences,)](
            x,
            cu_seqlens,
            query,
            mix,
            mix_bias,
            head,
            head_bias,
            slope,
            shift,
            slope.shape[0],
            heads,
            suffices,
            **constants(x.shape[1], query.shape[0], slope.shape[1], labels),
            **options(WARPS),
        )
    return heads, suffices


def reference(
    x: Tensor,
    cu_seqlens: Tensor,
    query: Tensor,
    mix: Tensor,
    mix_bias: Tensor,
    head: Tensor,
    head_bias: Tensor,
    slope: Tensor,
    shift: Tensor,
    labels: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """The same in plain torch: sequence by sequence, then the batch at once."""
    bounds = cu_seqlens.tolist()
    pooled = slope.new_zeros(len(bounds) - 1, query.numel())
    for i, (start, end) in enumerate(pairwise(bounds)):
        rows = x[start:end].float()
        if end > start:
            pooled[i] = ((rows @ query.float().T).softmax(0).T @ rows).flatten()
    m = torch.tanh(pooled @ mix.float().T + mix_bias.float())
    y = m @ head.float().T + head_bias.float()
    z, *logits, last = y.split([slope.shape[1], *labels, 2], 1)
    heads = torch.cat([z, *(part.softmax(1) for part in logits), last.sigmoid()], 1)
    return heads, (z @ slope.T + shift).sigmoid()
