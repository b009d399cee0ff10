"""Arguments of every kernel at the shipped encoder's sizes, filled with random numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.compile import Sizes
from kernels.floors import CARDS, WORK, Batch
from sidecar.encoder.bundle import Bundle

MODELS = 16  # abilities scored in one launch


def arguments(
    bundle: Bundle,
    batch: int,
    length: int,
    device: str = "cuda",
    dtype: torch.dtype = torch.float16,
) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """op -> its arguments for ``batch`` sequences of ``length`` ids, whole strides."""
    of, shape = Sizes.of_manifest(bundle.manifest), bundle.manifest["shape"]
    seed = torch.Generator().manual_seed(batch * 1000 + length)

    def some(*sizes: int, kind: torch.dtype = dtype) -> Tensor:
        return (torch.randn(sizes, generator=seed) * 0.1).to(device, kind)

    def bounds(step: int) -> Tensor:
        return torch.arange(0, batch * step + 1, step, dtype=torch.int32, device=device)

    vocabulary, positions = bundle.vocabulary, length // shape["stride"]
    ids = torch.randint(2, vocabulary, (batch * length,), generator=seed, dtype=torch.int32)
    outputs = of.demand + sum(of.labels) + 2
    return {
        "embed_norm": (
            (
                ids.to(device),
                bounds(length),
                some(vocabulary, of.embed),
                some(shape["positions"], of.embed),
                some(of.embed),
                some(of.embed),
            ),
            {},
        ),
        "varlen_attention": (
            (
                some(batch * positions, 3, of.heads, of.width // of.heads),
                bounds(positions),
            ),
            {},
        ),
        "pool_heads": (
            (
                some(batch * positions, of.width),
                bounds(positions),
                some(of.queries, of.width),
                some(of.width, of.queries * of.width),
                some(of.width),
                some(outputs, of.width),
                some(outputs),
                some(MODELS, of.demand, kind=torch.float32),
                some(MODELS, kind=torch.float32),
                of.labels,
            ),
            {},
        ),
    }


def floor_us(bundle: Bundle, card: str, op: str, batch: int, length: int) -> float | None:
    """The time below which no kernel can do it on ``card``; None for one of unknown peaks."""
    peaks = next((c for c in CARDS if c.known == card), None)
    if peaks is None:
        return None
    stride = bundle.manifest["shape"]["stride"]
    work = WORK[op](Sizes.of_manifest(bundle.manifest), Batch(batch, length, stride, MODELS))
    return round(work.floor(peaks) * 1e6, 3)
