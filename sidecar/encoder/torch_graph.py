"""The encoder on torch: the bundle's fp32 graph, one torch call a node.

For people who score files on a GPU without a Triton server, and for a second opinion on
what ONNX Runtime answers. The graph is plain ops, so each is a line here; an op that
this does not know is refused at load, by name. Needs torch and onnx (the extra
``train`` has both); CUDA is used where torch finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import INPUT, OUTPUTS, pad, readings
from sidecar.encoder.tokens import Ids, Tokens
from sidecar.errors import EncoderError
from sidecar.types import Reading

GRAPH: Final = "model.fp32.onnx"
Op = Callable[..., Any]


def _ops(torch: Any) -> dict[str, Op]:
    """ONNX op -> torch, each ``f(attributes, *inputs)``; integers are tensors as ONNX has them."""
    functional = torch.nn.functional

    def axes(tensor: Any) -> list[int]:
        return [int(i) for i in tensor.tolist()]

    def unsqueeze(_: dict[str, Any], x: Any, where: Any) -> Any:
        for axis in sorted(axes(where)):
            x = x.unsqueeze(axis)
        return x

    def cut(_: dict[str, Any], x: Any, start: Any, stop: Any, axis: Any, step: Any = None) -> Any:
        for i, (first, last, along) in enumerate(
            zip(axes(start), axes(stop), axes(axis), strict=True)
        ):
            stride = 1 if step is None else axes(step)[i]
            index: list[Any] = [slice(None)] * x.dim()
            index[along] = slice(first, last, stride)
            x = x[tuple(index)]
        return x

    def gather(a: dict[str, Any], x: Any, index: Any) -> Any:
        axis = a.get("axis", 0)
        found = x.index_select(axis, index.reshape(-1).long())
        return found.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])

    def gemm(a: dict[str, Any], x: Any, weight: Any, bias: Any) -> Any:
        return functional.linear(x, weight if a.get("transB") else weight.T, bias)

    def divide(_: dict[str, Any], x: Any, y: Any) -> Any:
        whole = not x.is_floating_point()
        return torch.div(x, y, rounding_mode="trunc") if whole else x / y

    def reshape(_: dict[str, Any], x: Any, shape: Any) -> Any:
        kept = [x.shape[i] if size == 0 else size for i, size in enumerate(axes(shape))]
        return x.reshape(kept)

    types = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16}
    return {
        "Add": lambda a, x, y: x + y,
        "Cast": lambda a, x: x.to(types[a["to"]]),
        "Clip": lambda a, x, low=None, high=None: torch.clamp(x, low, high),
        "Concat": lambda a, *xs: torch.cat(xs, a["axis"]),
        "Div": divide,
        "Equal": lambda a, x, y: x == y,
        "Flatten": lambda a, x: x.flatten(a.get("axis", 1)),
        "Gather": gather,
        "Gemm": gemm,
        "LayerNormalization": lambda a, x, w, b: functional.layer_norm(
            x, w.shape, w, b, a.get("epsilon", 1e-5)
        ),
        "MatMul": lambda a, x, y: x @ y,
        "Mul": lambda a, x, y: x * y,
        "Not": lambda a, x: ~x,
        "ReduceSum": lambda a, x, where: x.sum(axes(where), keepdim=bool(a.get("keepdims", 1))),
        "Pow": lambda a, x, y: x**y,
        "Relu": lambda a, x: x.relu(),
        "Gelu": lambda a, x: functional.gelu(x),
        "Erf": lambda a, x: x.erf(),
        "Reshape": reshape,
        # Shapes stay on the CPU, where the ops that take them read them.
        "Shape": lambda a, x: torch.tensor(x.shape),
        "Sigmoid": lambda a, x: x.sigmoid(),
        "Slice": cut,
        "Softmax": lambda a, x: x.softmax(a.get("axis", -1)),
        "Split": lambda a, x, sizes: x.split(axes(sizes), a.get("axis", 0)),
        "Squeeze": lambda a, x, where: x.squeeze(tuple(axes(where))),
        "Sub": lambda a, x, y: x - y,
        "Tanh": lambda a, x: x.tanh(),
        "Transpose": lambda a, x: x.permute(a["perm"]),
        "Unsqueeze": unsqueeze,
    }


class TorchEncoder:
    """A loaded encoder, the same face as :class:`~sidecar.encoder.model.OnnxEncoder`.

    Raises EncoderError when torch or onnx is missing, or the graph is not the one it needs.
    """

    def __init__(self, bundle: Bundle, device: str | None = None) -> None:
        try:
            import onnx  # noqa: PLC0415 - no other part of the product needs these two
            import torch  # noqa: PLC0415
        except ImportError as error:
            raise EncoderError(
                f"the torch backend needs {error.name}: pip install torch onnx"
            ) from error
        self.version = bundle.version
        self.tokens = Tokens(bundle.tokenizer)
        self._torch = torch
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            graph = onnx.load_from_string(bundle.file(GRAPH)).graph
        except EncoderError:
            raise
        except Exception as error:
            raise EncoderError(f"{bundle.path}/{GRAPH} can't be read: {error}") from error
        ops = _ops(torch)
        self._held: dict[str, Any] = {
            one.name: self._place(onnx.numpy_helper.to_array(one)) for one in graph.initializer
        }
        self._steps: list[tuple[Op, dict[str, Any], list[str], list[str]]] = []
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                value = onnx.numpy_helper.to_array(attributes["value"])
                self._held[node.output[0]] = self._place(value)
            elif node.op_type not in ops:
                raise EncoderError(
                    f"{bundle.path}/{GRAPH} has the op {node.op_type}, which the torch backend "
                    "does not know: use another backend"
                )
            else:
                names = list(node.input), list(node.output)
                self._steps.append((ops[node.op_type], attributes, *names))

    def _place(self, value: Any) -> Any:
        """A weight on the device; small integers (shapes, axes) on the CPU."""
        tensor = self._torch.from_numpy(np.array(value))
        return tensor.to(self.device) if tensor.is_floating_point() and tensor.dim() else tensor

    def read(self, windows: Sequence[str]) -> list[Reading]:
        """One reading a window, in order."""
        return self.read_ids(self.tokens.encode(windows)) if windows else []

    def read_ids(self, ids: Sequence[Ids]) -> list[Reading]:
        """One reading a row of ids, in order."""
        if not ids:
            return []
        with self._torch.inference_mode():
            known = dict(self._held)
            known[INPUT] = self._torch.from_numpy(pad(ids)).to(self.device)
            for op, attributes, inputs, outputs in self._steps:
                found = op(attributes, *(known[name] if name else None for name in inputs))
                several = found if isinstance(found, tuple) else (found,)
                known.update(zip(outputs, several, strict=True))
            values = {name: known[name].float().cpu().numpy() for name in OUTPUTS}
        return readings(values, self.version)
