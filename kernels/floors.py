"""What each op must move and compute, and the time below which no card can do it.

``python -m kernels.floors`` prints the table that README.md carries: bytes and
operations at the sizes in resources.json, in fp16, and, for each card, the longer of
bytes / bandwidth and operations / peak. These are computed from published peaks and
not measured: a floor says what to compare a measurement with, never how fast the code is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from kernels.compile import HERE, Sizes

HALF, SINGLE, INT = 2, 4, 4  # bytes


@dataclass(frozen=True, slots=True)
class Card:
    """Published peaks: memory in bytes/s, dense fp16 tensor cores and fp32 cores in ops/s."""

    name: str
    known: str  # what CUDA calls it: an H100 PCIe or NVL has other peaks than an SXM
    memory: float
    tensor: float
    cores: float


# NVIDIA's data sheets; their tensor figures with sparsity are halved.
CARDS = (
    Card("H100 SXM", "NVIDIA H100 80GB HBM3", memory=3.35e12, tensor=989e12, cores=67e12),
    Card("L4", "NVIDIA L4", memory=300e9, tensor=121e12, cores=30.3e12),
)


@dataclass(frozen=True, slots=True)
class Batch:
    """``count`` sequences of ``length`` tokens, ``stride`` of which make a position."""

    count: int
    length: int
    stride: int
    models: int

    @property
    def tokens(self) -> int:
        return self.count * -(-self.length // self.stride) * self.stride

    @property
    def positions(self) -> int:
        return self.tokens // self.stride


@dataclass(frozen=True, slots=True)
class Work:
    """Bytes that must cross memory once, and operations (a product and a sum are two)."""

    moved: int
    operations: int
    tensor: bool  # whether the products are the tensor cores'

    def floor(self, card: Card) -> float:
        """Seconds that ``card`` needs at the least."""
        peak = card.tensor if self.tensor else card.cores
        return max(self.moved / card.memory, self.operations / peak)


def embed_norm(s: Sizes, b: Batch) -> Work:
    """Ids in; a token row and a new position row in, a row out; 8 operations a number."""
    rows = 2 * b.tokens + min(b.tokens, b.length)
    moved = rows * s.embed * HALF + b.tokens * INT + (b.count + 1) * INT
    return Work(moved, 8 * b.tokens * s.embed, tensor=False)


def varlen_attention(s: Sizes, b: Batch) -> Work:
    """q, k, v in and one row out; two products of n x n x width a sequence."""
    length = b.positions // b.count
    moved = 4 * b.positions * s.width * HALF + (b.count + 1) * INT
    return Work(moved, 4 * b.count * length**2 * s.width, tensor=True)


def pool_heads(s: Sizes, b: Batch) -> Work:
    """Rows and all weights in, answers out; scores, sums, mixing layer, heads, abilities."""
    outputs = s.demand + sum(s.labels) + 2
    weights = s.queries * s.width * (1 + s.width) + s.width + outputs * (s.width + 1)
    moved = (b.positions * s.width + weights) * HALF + (b.count + 1) * INT
    moved += (b.models * (s.demand + 1) + b.count * (outputs + b.models)) * SINGLE
    one = s.queries * s.width**2 + outputs * s.width + b.models * s.demand
    operations = 2 * b.count * one + 4 * b.positions * s.queries * s.width
    return Work(moved, operations, tensor=False)


WORK: dict[str, Callable[[Sizes, Batch], Work]] = {
    "embed_norm": embed_norm,
    "varlen_attention": varlen_attention,
    "pool_heads": pool_heads,
}


def table(sizes: Sizes, stride: int, models: int) -> str:
    """Every op at a few batches, as markdown."""
    head = ["op", "sequences x tokens", "bytes", "operations"]
    head += [f"floor on {card.name}, us" for card in CARDS]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, work in WORK.items():
        for count, length in ((1, 64), (32, 64), (128, 256)):
            done = work(sizes, Batch(count, length, stride, models))
            floors = [f"{done.floor(card) * 1e6:.2f}" for card in CARDS]
            cells = [name, f"{count} x {length}", f"{done.moved:,}", f"{done.operations:,}"]
            lines.append(f"| {' | '.join(cells + floors)} |")
    return "\n".join(lines)


def kept() -> str:
    """The table for the encoder that ``kernels.compile --write`` last read."""
    of = json.loads((HERE / "resources.json").read_text())
    return table(Sizes.kept(), of["stride"], of["models"])


if __name__ == "__main__":
    print(kept())
