"""The networks in plain torch: the tiny student, the teacher, and the heads both share.

The student halves the sequence before its first layer: the embeddings of two
neighbouring tokens become one position. Attention and feed-forward then cost half,
which pays for the width (LOG.md has the comparison). Everything is written in ops
that ONNX, TensorRT and a reader know: MatMul, Softmax, LayerNormalization, Gather.

The heads are the item-response form of DESIGN.md section 4. A column is one
(source, model) pair; its logit is ``(A[model] + D[column]) . z + B[model] + C[source]
+ e[column]``, and weight decay on D, C and e pulls a model's columns together, so
that A and B are what the model is like when the source is unknown.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from sidecar.types import DOMAINS, TASKS, TIERS


@dataclass(frozen=True)
class Shape:
    """The student's size."""

    vocabulary: int
    embed: int = 192
    width: int = 192
    layers: int = 3
    heads: int = 4
    inner: int = 768
    stride: int = 2
    positions: int = 256
    demand: int = 32
    activation: str = "relu"  # "gelu" costs a tenth of the time at batch 1

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@lru_cache
def has_tiles() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware (AMX)."""
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and "amx_bf16" in cpu.read_text()


def halved() -> AbstractContextManager[object]:
    """Matrix products in bfloat16 where the processor has them (2.4 times the speed: LOG.md,
    section 13); elsewhere everything stays in float32, as weights and losses do in both."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_tiles())


class FusedAttention(torch.autograd.Function):
    """ONNX Runtime's own attention op, for the CPU graph: a third fewer small ops a layer.

    Never run in torch: only its symbolic form is, at export.
    """

    @staticmethod
    def symbolic(g: Any, q: Any, k: Any, v: Any, bias: Any, keep: Any, heads: int) -> Any:
        op = "com.microsoft::MultiHeadAttention"
        return g.op(op, q, k, v, bias, keep, num_heads_i=heads).setType(q.type())

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, bias: Any, keep: Any, heads: int) -> Any:
        return q.clone()


class Norm(nn.LayerNorm):
    """Layer normalisation in float32, whatever the type of its input and of the rest."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == self.weight.dtype:
            return super().forward(x)
        if x.dtype == torch.bfloat16:  # one kernel takes both types; autocast would copy
            with torch.autocast("cpu", enabled=False):
                return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return super().forward(x.float()).to(x.dtype)


def softmax(x: Tensor, axis: int) -> Tensor:
    """Softmax in float32, answered in the type of ``x``."""
    if x.dtype == torch.float32:
        return x.softmax(axis)
    if x.dtype == torch.bfloat16:  # torch's kernel for it sums in float32
        with torch.autocast("cpu", enabled=False):
            return x.softmax(axis)
    return x.float().softmax(axis).to(x.dtype)


class Block(nn.Module):
    """One post-norm transformer layer, BERT's."""

    def __init__(
        self, width: int, heads: int, inner: int, dropout: float = 0.0, activation: str = "gelu"
    ) -> None:
        super().__init__()
        self.heads = heads
        self.activation = getattr(F, activation)
        self.fused = False  # set at export only
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm1 = Norm(width)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.norm2 = Norm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """``x`` [B, L, width]; ``bias`` [B, 1, 1, L], large and negative at padding."""
        batch, length, _ = x.shape
        width = self.out.in_features
        if self.fused:
            q, k, v = (x @ self.qkv.weight.T).chunk(3, -1)
            keep = (bias[:, 0, 0] == 0).to(torch.int32)
            mixed = FusedAttention.apply(q, k, v, self.qkv.bias, keep, self.heads)
            return self.finish(x, mixed)
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-1, -2)) * (width // self.heads) ** -0.5 + bias
        mixed = (softmax(scores, -1) @ v).transpose(1, 2).reshape(batch, length, width)
        return self.finish(x, mixed)

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = self.norm1(x + self.drop(self.out(mixed)))
        return self.norm2(x + self.drop(self.down(self.activation(self.up(x)))))


class Pool(nn.Module):
    """Attention pooling with a few learned queries, so that padding text can be read past."""

    def __init__(self, width: int, queries: int = 4) -> None:
        super().__init__()
        self.score = nn.Linear(width, queries)
        self.mix = nn.Linear(width * queries, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        weights = softmax(self.score(x) + bias[:, 0, 0, :, None], 1)  # [B, L, Q]
        return torch.tanh(self.mix((weights.transpose(1, 2) @ x).flatten(1)))


def mean_and_pool(x: Tensor, bias: Tensor, pool: Pool) -> Tensor:
    """[B, 2 * width]: the mean over what is no padding, and what attention pooling finds."""
    kept = (bias[:, 0, 0, :, None] == 0).float()
    mean = (x * kept).sum(1) / kept.sum(1).clamp(min=1)
    return torch.cat([mean, pool(x, bias)], 1)


class Student(nn.Module):
    """ids [B, L] int32 -> pooled [B, width]. L is padded to the stride inside."""

    def __init__(self, shape: Shape, dropout: float = 0.1) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocabulary, shape.embed, padding_idx=0)
        self.positions = nn.Embedding(shape.positions, shape.embed)
        self.norm = Norm(shape.embed)
        self.stem = nn.Linear(shape.embed * shape.stride, shape.width)
        self.norm0 = Norm(shape.width)
        self.blocks = nn.ModuleList(
            Block(shape.width, shape.heads, shape.inner, dropout, shape.activation)
            for _ in range(shape.layers)
        )
        self.pool = Pool(shape.width)
        self.drop = nn.Dropout(dropout)
        nn.init.normal_(self.positions.weight, std=0.02)

    @property
    def width(self) -> int:
        return self.shape.width

    def forward(self, ids: Tensor) -> Tensor:
        stride = self.shape.stride
        if ids.shape[1] % stride:  # an exported graph takes whole strides only
            ids = F.pad(ids, (0, stride - ids.shape[1] % stride))
        batch, length = ids.shape
        x = self.norm(self.tokens(ids) + self.positions.weight[:length])
        x = x.reshape(batch, length // stride, stride * self.shape.embed)
        x = self.drop(self.norm0(self.stem(x)))
        filled = ids.reshape(batch, length // stride, stride)[:, :, 0] != 0
        bias = (1.0 - filled.to(x.dtype))[:, None, None, :] * -1e4
        for block in self.blocks:
            x = block(x, bias)
        return self.drop(self.pool(x, bias))


class Teacher(nn.Module):
    """all-MiniLM-L6-v2 from its own weights file; mean and attention pooling, 384 wide."""

    def __init__(self, folder: Path, layers: int = 6, frozen: int = 2) -> None:
        super().__init__()
        weights = load_file(folder / "model.safetensors")
        get = lambda name: weights[name]  # noqa: E731
        self.frozen = frozen
        self.width = 384
        self.tokens = nn.Embedding.from_pretrained(get("embeddings.word_embeddings.weight"))
        position = get("embeddings.position_embeddings.weight")
        self.offset = nn.Parameter(
            position + get("embeddings.token_type_embeddings.weight")[0], requires_grad=False
        )
        self.norm = Norm(384, eps=1e-12)
        self.norm.weight.data = get("embeddings.LayerNorm.weight")
        self.norm.bias.data = get("embeddings.LayerNorm.bias")
        self.blocks = nn.ModuleList(Block(384, 12, 1536, 0.1) for _ in range(layers))
        for i, block in enumerate(self.blocks):
            p = f"encoder.layer.{i}."
            for kind in ("weight", "bias"):
                block.qkv.get_parameter(kind).data = torch.cat(
                    [get(f"{p}attention.self.{n}.{kind}") for n in ("query", "key", "value")]
                )
                block.out.get_parameter(kind).data = get(f"{p}attention.output.dense.{kind}")
                block.norm1.get_parameter(kind).data = get(f"{p}attention.output.LayerNorm.{kind}")
                block.up.get_parameter(kind).data = get(f"{p}intermediate.dense.{kind}")
                block.down.get_parameter(kind).data = get(f"{p}output.dense.{kind}")
                block.norm2.get_parameter(kind).data = get(f"{p}output.LayerNorm.{kind}")
        self.pool = Pool(384)
        self.join = nn.Linear(768, 384)
        self.drop = nn.Dropout(0.1)
        for part in (self.tokens, self.norm, *self.blocks[:frozen]):
            for parameter in part.parameters():
                parameter.requires_grad_(False)

    def lower(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The frozen part: hidden states [B, L, 384] and the attention bias."""
        bias = (ids == 0).float()[:, None, None, :] * -1e4
        with torch.no_grad():
            x = self.norm(self.tokens(ids) + self.offset[: ids.shape[1]])
            for block in self.blocks[: self.frozen]:
                x = block(x, bias)
        return x, bias

    def forward(self, ids: Tensor) -> Tensor:
        x, bias = self.lower(ids)
        for block in self.blocks[self.frozen :]:
            x = block(x, bias)
        return self.drop(torch.tanh(self.join(mean_and_pool(x, bias, self.pool))))


class Heads(nn.Module):
    """Pooled [B, width] -> demand, column logits, task, domain, tier, difficulty, ood."""

    def __init__(self, width: int, demand: int, columns: list[dict[str, str]]) -> None:
        super().__init__()
        self.models = sorted({c["model"] for c in columns})
        self.sources = sorted({c["source"] for c in columns})
        self.register_buffer(
            "model_of", torch.tensor([self.models.index(c["model"]) for c in columns])
        )
        self.register_buffer(
            "source_of", torch.tensor([self.sources.index(c["source"]) for c in columns])
        )
        self.demand = nn.Linear(width, demand)
        self.direction = nn.Parameter(torch.randn(demand) * 0.2)  # what every model is good at
        self.gain = nn.Parameter(torch.zeros(len(self.models)))
        self.ability = nn.Parameter(torch.randn(len(self.models), demand) * 0.02)
        self.easiness = nn.Parameter(torch.zeros(len(self.models)))
        self.d_ability = nn.Parameter(torch.zeros(len(columns), demand))
        self.d_easiness = nn.Parameter(torch.zeros(len(columns)))
        self.d_source = nn.Parameter(torch.zeros(len(self.sources)))
        self.task = nn.Linear(width, len(TASKS))
        self.domain = nn.Linear(width, len(DOMAINS))
        self.tier = nn.Linear(width, len(TIERS))
        self.difficulty = nn.Linear(width, 1)
        self.ood = nn.Linear(width, 1)

    def columns(self, z: Tensor) -> Tensor:
        """z [B, K] -> logits [B, columns]."""
        slope = self.slopes()[self.model_of] + self.d_ability
        shift = self.easiness[self.model_of] + self.d_source[self.source_of] + self.d_easiness
        return z @ slope.T + shift

    def slopes(self) -> Tensor:
        """a of every model [models, K]: a common direction scaled, and what is its own.

        A model that was run on one easy source says little about its own slope; the
        common direction lends it the others'.
        """
        return self.gain.exp()[:, None] * self.direction + self.ability

    def serving(self, z: Tensor) -> Tensor:
        """z [B, K] -> logits [B, models] of the abilities that no source is told of."""
        return z @ self.slopes().T + self.easiness

    def shrinkage(self) -> Tensor:
        return (
            self.d_ability.square().sum() * 1e-3
            + self.d_easiness.square().sum() * 4e-3
            + self.d_source.square().sum() * 1e-3
            + self.ability.square().sum() * 5e-4
            + self.gain.square().sum() * 1e-2
        )

    def forward(self, pooled: Tensor) -> dict[str, Tensor]:
        z = self.demand(pooled)
        return {
            "demand": z,
            "task": self.task(pooled),
            "domain": self.domain(pooled),
            "tier": self.tier(pooled),
            "difficulty": self.difficulty(pooled)[:, 0],
            "ood": self.ood(pooled)[:, 0],
        }


def grown(parts: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """A run's weights for a student of more layers: each new one repeats the last one's norms
    and adds nothing yet, so that the deeper student begins near to what the other knew."""
    have = 1 + max(int(n.split(".")[2]) for n in parts if n.startswith("encoder.blocks."))
    last = f"encoder.blocks.{have - 1}."
    out = dict(parts)
    for layer in range(have, layers):
        for name, value in parts.items():
            if name.startswith(last):
                tail = name.removeprefix(last)
                silent = tail.startswith(("out.", "down."))
                if tail.startswith("norm1."):
                    value = parts[last + tail.replace("norm1", "norm2")]  # noqa: PLW2901
                out[f"encoder.blocks.{layer}.{tail}"] = value * 0 if silent else value.clone()
    return out
