"""The padding-free encoder: packed ids to heads and abilities, over kernels or references.

Contract: the same numbers as the trained student and its heads on padded rows, to the
tolerance of the type (``tests/kernels/test_encoder.py``). Sequences lie end to end and
``cu_seqlens`` says where each begins; no work is done for padding, except that a
sequence is filled to a whole stride, as in training, because the stem folds that many
neighbours into one position.

Kernel or reference is chosen once, at load, by :func:`choose`, with the reason in words
for logs and status pages. What is no kernel here is a matrix product or a norm that
torch hands to the vendor's library.

    ids -> embed_norm -> stem, norm -> layers x (qkv -> varlen_attention -> out, norm
        -> up, activation, down, norm) -> pool_heads
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kernels.lang import INTERPRETED, MISSING
from kernels.ops import OPS, KernelError, pack
from sidecar.encoder.bundle import Bundle

OLDEST = (8, 0)  # compute capability: what kernels.compile proves starts here
HEADS = ("demand", "task", "domain", "tier", "difficulty", "ood")  # in the order of the rows
PADDING = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """What the ops run on, and why."""

    backend: Literal["kernel", "reference"]
    device: str
    dtype: torch.dtype
    reason: str


def choose(wanted: Literal["auto", "kernel", "reference"] = "auto") -> Choice:
    """Kernel where they can run, else reference; ``reason`` says which and why.

    Raises KernelError when kernels are demanded and can't run.
    """
    if wanted == "reference":
        return Choice("reference", "cpu", torch.float32, "reference: asked for")
    if MISSING is not None:
        why = MISSING
    elif INTERPRETED and wanted == "kernel":
        why = "kernels in Triton's interpreter: asked for, correct and slow"
        return Choice("kernel", "cpu", torch.float32, why)
    elif INTERPRETED:
        why = "TRITON_INTERPRET is set, which is for tests"
    elif not torch.cuda.is_available():
        why = "no CUDA device"
    elif torch.cuda.get_device_capability() < OLDEST:
        found = ".".join(map(str, torch.cuda.get_device_capability()))
        why = f"the CUDA device has compute capability {found}, kernels need 8.0 or later"
    else:
        why = f"kernels: CUDA device {torch.cuda.get_device_name()}"
        return Choice("kernel", "cuda", torch.float16, why)
    if wanted == "kernel":
        raise KernelError(f"kernels were asked for and can't run: {why}")
    return Choice("reference", "cpu", torch.float32, f"reference: {why}")


class PackedEncoder:
    """Weights on one device in one type, and the steps over them."""

    def __init__(
        self,
        state: Mapping[str, Tensor],
        shape: Mapping[str, Any],
        slope: Tensor,
        shift: Tensor,
        choice: Choice | None = None,
    ) -> None:
        """``state``: the student's state dict, and the heads' under ``heads.``.

        ``shape``: a manifest's (stride, layers, heads, activation). ``slope`` [M, K] and
        ``shift`` [M]: the abilities to score. Raises KernelError for what is missing.
        """
        self.choice = choice or choose()
        self.stride, self.layers, self.heads = (shape[k] for k in ("stride", "layers", "heads"))
        self.activation = getattr(functional, shape.get("activation", "gelu"))
        try:
            self._w = {
                name: value.detach().to(self.choice.device, self.choice.dtype).contiguous()
                for name, value in self._chosen(state).items()
            }
        except KeyError as error:
            raise KernelError(f"the encoder's weights lack {error.args[0]}") from error
        self._slope = slope.detach().to(self.choice.device, torch.float32).contiguous()
        self._shift = shift.detach().to(self.choice.device, torch.float32).contiguous()
        self.labels = tuple(state[f"heads.{n}.weight"].shape[0] for n in HEADS[1:4])
        self.positions = self._w["positions"].shape[0]
        self.width = self._w["stem.weight"].shape[0]

    def _chosen(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights by the names used here: tables, layers, one matrix of all heads."""
        linear = ["stem", "pool.mix"]
        norms = ["norm", "norm0"]
        for i in range(self.layers):
            linear += [f"blocks.{i}.{n}" for n in ("qkv", "out", "up", "down")]
            norms += [f"blocks.{i}.{n}" for n in ("norm1", "norm2")]
        kept = {
            f"{n}.{kind}": state[f"{n}.{kind}"]
            for n in linear + norms
            for kind in ("weight", "bias")
        }
        kept["tokens"], kept["positions"] = state["tokens.weight"], state["positions.weight"]
        kept["query"] = state["pool.score.weight"]  # its bias leaves the softmax
        for kind in ("weight", "bias"):
            kept[f"head.{kind}"] = torch.cat([state[f"heads.{n}.{kind}"] for n in HEADS])
        return kept

    @classmethod
    def of_modules(
        cls,
        student: torch.nn.Module,
        heads: torch.nn.Module,
        slope: Tensor,
        shift: Tensor,
        choice: Choice | None = None,
    ) -> PackedEncoder:
        """From a trained student and its heads (``distill.network``)."""
        state = {**student.state_dict()}
        state |= {f"heads.{name}": value for name, value in heads.state_dict().items()}
        return cls(state, student.shape.as_dict(), slope, shift, choice)

    @classmethod
    def of_bundle(
        cls,
        bundle: Bundle,
        names: Sequence[str],
        choice: Choice | None = None,
        graph: str = "model.int8.onnx",
    ) -> PackedEncoder:
        """From one graph of an exported bundle, to score the abilities ``names``, in order.

        Raises EncoderError for a graph that is no such encoder, KernelError for an
        ability that the bundle does not have.
        """
        from kernels.weights import from_onnx  # noqa: PLC0415 - needs onnx
        from sidecar.encoder.abilities import Catalogue  # noqa: PLC0415

        catalogue = Catalogue.of(bundle)
        unknown = sorted(set(names) - set(catalogue.names))
        if unknown:
            raise KernelError(f"the encoder knows no ability of {', '.join(unknown)}")
        weights = from_onnx(bundle.file(graph))
        slope = torch.tensor([catalogue[n].slope for n in names]).reshape(-1, bundle.demand)
        shift = torch.tensor([catalogue[n].shift for n in names])
        shape = {**bundle.manifest["shape"], "activation": weights.activation}
        return cls(weights.state, shape, slope, shift, choice)

    def read(self, rows: Sequence[Sequence[int] | np.ndarray]) -> dict[str, Tensor]:
        """Rows of ids to results, in order (see :meth:`forward`). Raises KernelError."""
        longest = max(map(len, rows), default=0)
        if longest > self.positions:
            raise KernelError(
                f"a row has {longest} ids, the encoder has {self.positions} positions: cut it"
            )
        return self.forward(*pack(rows, self.stride, self.choice.device))

    @torch.inference_mode()
    def forward(self, ids: Tensor, cu_seqlens: Tensor) -> dict[str, Tensor]:
        """ids int32 [T] and cu_seqlens int32 [B + 1], whole strides (:func:`kernels.ops.pack`).

        Answers fp32: ``demand`` [B, K]; probabilities ``task``, ``domain``, ``tier``
        [B, labels]; ``difficulty``, ``ood`` [B] in 0..1; ``suffices`` [B, M] in 0..1.
        """
        w, run = self._w, self.choice.backend
        x = OPS["embed_norm"](
            ids,
            cu_seqlens,
            w["tokens"],
            w["positions"],
            w["norm.weight"],
            w["norm.bias"],
            backend=run,
        )
        if x.shape[0] % self.stride:
            raise KernelError(f"{x.shape[0]} ids are no whole strides of {self.stride}")
        x = self._norm("norm0", self._linear("stem", x.reshape(-1, self.stride * x.shape[1])))
        bounds = torch.div(cu_seqlens, self.stride, rounding_mode="floor")
        for i in range(self.layers):
            x = self._block(f"blocks.{i}", x, bounds)
        heads, suffices = OPS["pool_heads"](
            x,
            bounds,
            w["query"],
            w["pool.mix.weight"],
            w["pool.mix.bias"],
            w["head.weight"],
            w["head.bias"],
            self._slope,
            self._shift,
            self.labels,
            backend=run,
        )
        parts = heads.split([self._slope.shape[1], *self.labels, 1, 1], 1)
        out = dict(zip(HEADS, parts, strict=True))
        out["difficulty"], out["ood"] = out["difficulty"][:, 0], out["ood"][:, 0]
        return {**out, "suffices": suffices}

    def _block(self, name: str, x: Tensor, bounds: Tensor) -> Tensor:
        """One post-norm layer over packed rows [T, width]."""
        qkv = self._linear(f"{name}.qkv", x).reshape(-1, 3, self.heads, self.width // self.heads)
        mixed = OPS["varlen_attention"](qkv, bounds, backend=self.choice.backend)
        x = self._norm(f"{name}.norm1", x + self._linear(f"{name}.out", mixed))
        inner = self.activation(self._linear(f"{name}.up", x))
        return self._norm(f"{name}.norm2", x + self._linear(f"{name}.down", inner))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self._w[f"{name}.weight"], self._w[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return functional.layer_norm(
            x, x.shape[-1:], self._w[f"{name}.weight"], self._w[f"{name}.bias"]
        )
