"""An encoder's weights out of its exported graph, by the names they had in training.

Contract: :func:`from_onnx` takes the bytes of a float or dynamically quantised ONNX
graph of the student and answers fp32 tensors under the names of its state dict. The
export keeps the names of biases, norms and tables but not of the matrices: a linear
layer's weight, transposed, is an anonymous operand of its product. The bias that is
added to that product is named, so each matrix takes its name from there.

Quantised matrices come back as ``(q - zero) * scale``, what ONNX Runtime multiplies
with; only its rounding of the activations is then missing (the parity test says by how
much the answers differ). So the shipped bundle alone is enough to run the kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidecar.errors import EncoderError

PRODUCTS = ("MatMul", "MatMulInteger", "Gemm")


@dataclass(frozen=True, slots=True)
class Weights:
    """``state`` by name, and the activation of the feed-forward layers."""

    state: Mapping[str, Tensor]
    activation: str


def from_onnx(raw: bytes) -> Weights:
    """The weights in an exported graph. Raises EncoderError for a graph of another kind."""
    try:
        import onnx  # noqa: PLC0415 - only this function needs it
        from onnx import numpy_helper  # noqa: PLC0415
    except ImportError as error:
        raise EncoderError(
            f"onnx is not installed ({error}): it is needed to read weights from a bundle"
        ) from error
    try:
        graph = onnx.load_from_string(raw).graph
        arrays = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    except Exception as error:
        raise EncoderError(f"the ONNX file can't be read: {error}") from error

    floats = dict(_floats(arrays))
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    state: dict[str, Tensor] = {}
    for name, value in floats.items():
        product = next((n for n in _readers(name, arrays, readers) if n.op_type in PRODUCTS), None)
        if product is None or value.ndim != 2:  # a Gemm reads its bias too
            state[name] = value
            continue
        transposed = product.op_type == "Gemm" and any(
            a.name == "transB" and a.i for a in product.attribute
        )
        named = _bias_after(product, readers, floats)
        state[named.removesuffix("bias") + "weight"] = value if transposed else value.T.contiguous()
    operations = {node.op_type for node in graph.node}
    return Weights(
        {_plain(name): value for name, value in state.items()},
        "relu" if "Relu" in operations else "gelu",
    )


def _plain(name: str) -> str:
    """The name in the student's own state dict; the heads' begin with ``heads.``."""
    return name.removeprefix("student.")


def _floats(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, Tensor]]:
    """Every weight as fp32, dequantised where it was quantised, without the helper scalars."""
    for name, value in arrays.items():
        if name.endswith("_quantized"):
            base = name.removesuffix("_quantized")
            zero = arrays[base + "_zero_point"].astype(np.float32)
            scale = arrays[base + "_scale"].astype(np.float32)
            yield base, torch.from_numpy((value.astype(np.float32) - zero) * scale)
        elif name.endswith(".half"):  # stored as halves, cast where it is used
            yield name.removesuffix(".half"), torch.from_numpy(value.astype(np.float32))
        elif value.dtype.kind == "f" and not name.endswith(("_scale", "_zero_point")):
            yield name, torch.from_numpy(value.astype(np.float32))


def _readers(
    name: str, arrays: Mapping[str, np.ndarray], readers: Mapping[str, list[Any]]
) -> list[Any]:
    quantised = name + "_quantized"
    stored = quantised if quantised in arrays else name
    return readers.get(stored, [])


def _bias_after(node: Any, readers: Mapping[str, list[Any]], floats: Mapping[str, Tensor]) -> str:
    """The named bias that is first added to what ``node`` answers."""
    waiting, seen = [node], 0
    while waiting and seen < 32:
        one = waiting.pop(0)
        seen += 1
        named = [n for n in one.input if n in floats and n.endswith(".bias")]
        if named:
            return named[0]
        waiting += [reader for out in one.output for reader in readers.get(out, [])]
    raise EncoderError(
        f"the ONNX file has a product ({node.name}) without a named bias: "
        "it is not an export of this encoder"
    )
