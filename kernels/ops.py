"""The ops by name, with their shapes and types checked before anything is launched.

A kernel reads the addresses it is given: a wrong shape would not raise there, it would
read another tensor's memory. So every call goes through the check of its op here, which
costs no copy from the device: contents (that ``cu_seqlens`` rises, that it ends at T)
are the caller's, and :func:`pack` makes them right.

The same name is used everywhere: ``OPS["embed_norm"].kernel`` and ``.reference``,
``tests/kernels/test_embed_norm.py``, the rows of ``kernels.compile``, the plugin
``pointsman::embed_norm``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kernels import embed_norm, pool_heads, varlen_attention

FLOATS = (torch.float16, torch.float32)


class KernelError(ValueError):
    """An argument that an op can't take; the message names it and says what it must be."""


@dataclass(frozen=True, slots=True)
class Op:
    """One op: its check, its kernel and its plain-torch reference, of one signature."""

    name: str
    check: Callable[..., None]
    kernel: Callable[..., Any]
    reference: Callable[..., Any]

    def __call__(self, *args: Any, backend: Literal["kernel", "reference"], **options: Any) -> Any:
        """Check, then run. Raises KernelError."""
        self.check(*args, **options)
        return (self.kernel if backend == "kernel" else self.reference)(*args, **options)


def _shape(name: str, tensor: Tensor, *wanted: int | None) -> None:
    """``wanted`` sizes, None for any. Contiguous, because kernels count in rows."""
    if tensor.ndim != len(wanted) or any(
        w is not None and w != s for w, s in zip(wanted, tensor.shape, strict=True)
    ):
        sizes = ", ".join("any" if w is None else str(w) for w in wanted)
        raise KernelError(f"{name} must be [{sizes}], it is {list(tensor.shape)}")
    if not tensor.is_contiguous():
        raise KernelError(f"{name} must be contiguous: call .contiguous() on it")


def _types(wanted: torch.dtype, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype != wanted:
            raise KernelError(f"{name} must be {wanted}, it is {tensor.dtype}")


def _float(name: str, tensor: Tensor) -> torch.dtype:
    if tensor.dtype not in FLOATS:
        raise KernelError(f"{name} must be float16 or float32, it is {tensor.dtype}")
    return tensor.dtype


def _together(*tensors: Tensor) -> None:
    devices = {str(t.device) for t in tensors}
    if len(devices) > 1:
        raise KernelError(f"all tensors must be on one device, they are on {sorted(devices)}")


def _bounds(cu_seqlens: Tensor) -> None:
    _shape("cu_seqlens", cu_seqlens, None)
    _types(torch.int32, cu_seqlens=cu_seqlens)
    if not len(cu_seqlens):
        raise KernelError("cu_seqlens must hold at least the 0 before the first sequence")


def check_embed_norm(
    ids: Tensor,
    cu_seqlens: Tensor,
    tokens: Tensor,
    positions: Tensor,
    weight: Tensor,
    bias: Tensor,
    unknown: int = 1,
    eps: float = 1e-5,
) -> None:
    """ids int32 [T]; tokens [V, E], positions [P, E], weight and bias [E] of one type."""
    _bounds(cu_seqlens)
    _shape("ids", ids, None)
    _types(torch.int32, ids=ids)
    _shape("tokens", tokens, None, None)
    width = tokens.shape[1]
    _shape("positions", positions, None, width)
    _shape("weight", weight, width)
    _shape("bias", bias, width)
    _types(_float("tokens", tokens), positions=positions, weight=weight, bias=bias)
    if not 0 <= unknown < tokens.shape[0]:
        raise KernelError(f"unknown must be a row of tokens, 0 to {tokens.shape[0] - 1}")
    if not positions.shape[0] or not width or not eps > 0:
        raise KernelError("positions needs a row, rows need a number, and eps must be positive")
    _together(ids, cu_seqlens, tokens, positions, weight, bias)


def check_varlen_attention(qkv: Tensor, cu_seqlens: Tensor) -> None:
    """qkv [T, 3, H, D], D at most 256."""
    _bounds(cu_seqlens)
    _shape("qkv", qkv, None, 3, None, None)
    _float("qkv", qkv)
    if not 1 <= qkv.shape[3] <= 256 or not qkv.shape[2]:
        raise KernelError(f"qkv needs heads of 1 to 256 numbers, it is {list(qkv.shape)}")
    _together(qkv, cu_seqlens)


def check_pool_heads(
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
) -> None:
    """x [T, W], query [Q, W], mix [W, Q * W], head [N, W], slope [M, K]; N = K + labels + 2."""
    _bounds(cu_seqlens)
    _shape("x", x, None, None)
    width = x.shape[1]
    _shape("query", query, None, width)
    _shape("mix", mix, width, query.shape[0] * width)
    _shape("mix_bias", mix_bias, width)
    _shape("slope", slope, None, None)
    _shape("shift", shift, slope.shape[0])
    if len(labels) != 3 or min(labels) < 1:
        raise KernelError(f"labels must be the sizes of task, domain and tier, they are {labels}")
    outputs = slope.shape[1] + sum(labels) + 2
    _shape("head", head, outputs, width)
    _shape("head_bias", head_bias, outputs)
    half = _float("x", x)
    _types(half, query=query, mix=mix, mix_bias=mix_bias, head=head, head_bias=head_bias)
    _types(torch.float32, slope=slope, shift=shift)
    if not query.shape[0] or not width or not slope.shape[1]:
        raise KernelError("query needs a row, x a column and slope a column")
    _together(x, cu_seqlens, query, mix, mix_bias, head, head_bias, slope, shift)


OPS: Mapping[str, Op] = MappingProxyType(
    {
        op.name: op
        for op in (
            Op("embed_norm", check_embed_norm, embed_norm.launch, embed_norm.reference),
            Op(
                "varlen_attention",
                check_varlen_attention,
                varlen_attention.launch,
                varlen_attention.reference,
            ),
            Op("pool_heads", check_pool_heads, pool_heads.launch, pool_heads.reference),
        )
    }
)


def pack(
    rows: Sequence[Sequence[int] | np.ndarray],
    stride: int = 1,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Rows of ids end to end: ids int32 [T] and cu_seqlens int32 [B + 1].

    Each row is filled with 0 to a multiple of ``stride`` (under ``stride`` ids a row):
    an encoder that folds neighbours needs whole groups.
    """
    sizes = [-(-len(row) // stride) * stride for row in rows]
    bounds = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(sizes, out=bounds[1:])
    if bounds[-1] >= 2**31:
        raise KernelError(f"a batch holds under 2^31 ids, this one {bounds[-1]}")
    ids = np.zeros(bounds[-1], np.int32)
    for row, start in zip(rows, bounds, strict=False):
        ids[start : start + len(row)] = row
    return (
        torch.from_numpy(ids).to(device),
        torch.from_numpy(bounds.astype(np.int32)).to(device),
    )
