"""Each op as a TensorRT quick plugin that carries its kernel into an engine as PTX.

Contract: :func:`register` declares ``pointsman::embed_norm``,
``pointsman::varlen_attention`` and ``pointsman::pool_heads`` with TensorRT's
``tensorrt.plugin`` (``register``, ``autotune``, ``aot_impl``). The engine then holds the
machine-independent code of the kernels: serving needs neither Python nor Triton.

TensorRT calls a kernel with its input tensors, then the extra integers, then its
outputs, which is the order of every kernel here. Two things differ from Triton's own
launcher. Triton's code takes two more pointers, to scratch memory; these kernels use
none, and :func:`bare` takes the parameters away, since a caller that does not know of
them would hand over whatever lies behind its last argument. And the grid and integers
are expressions of shapes, which is why no kernel asks for a length (see
:mod:`kernels.varlen_attention`).

Written against ``tensorrt.plugin`` of TensorRT 10.13 and 11. The module is handed in: without a
GPU a test hands in TensorRT's own, registers with its registry and makes the calls of a build.
That a built engine answers the same as the reference is checked where there is a GPU.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from kernels import embed_norm
from kernels.compile import Compiled, Sizes, Spec, compile_for, specs
from kernels.ops import KernelError

NAMESPACE = "pointsman"
PTX_VERSION = 83  # CUDA 12.3: every driver since can assemble it


@dataclass(frozen=True, slots=True)
class Plugin:
    """What TensorRT must know of one op; tensors are its descriptors, by name."""

    name: str
    inputs: tuple[str, ...]
    typed: str  # the input whose type, half or float, is the kernel's
    kinds: tuple[str, ...]  # type of every input, then output; "" is the kernel's
    outputs: Callable[[Any, Mapping[str, Any], Sizes], tuple[Any, ...]]
    extras: Callable[[Mapping[str, Any]], Sequence[Any]]
    grid: Callable[[Any, Mapping[str, Any], Spec], Sequence[Any]]


def _rows(desc: Any, axis: int = 0) -> Any:
    """A dimension, as an expression."""
    return desc.shape_expr[axis]


def _embed_outputs(trtp: Any, t: Mapping[str, Any], sizes: Sizes) -> tuple[Any, ...]:
    shape = (_rows(t["ids"]), sizes.embed)
    return (trtp.from_shape_expr(shape, dtype=t["tokens"].dtype),)


def _attention_outputs(trtp: Any, t: Mapping[str, Any], sizes: Sizes) -> tuple[Any, ...]:
    return (trtp.from_shape_expr((_rows(t["qkv"]), sizes.width), dtype=t["qkv"].dtype),)


def _pool_outputs(trtp: Any, t: Mapping[str, Any], sizes: Sizes) -> tuple[Any, ...]:
    batch, kind = _rows(t["cu_seqlens"]) - 1, t["slope"].dtype
    heads = (batch, sizes.demand + sum(sizes.labels) + 2)
    return (
        trtp.from_shape_expr(heads, dtype=kind),
        trtp.from_shape_expr((batch, _rows(t["slope"])), dtype=kind),
    )


def _attention_grid(trtp: Any, t: Mapping[str, Any], spec: Spec) -> Sequence[Any]:
    """:func:`kernels.varlen_attention.tiles` as an expression: T // M + B + 1."""
    side = 1 << spec.constants["shift"]
    return (_rows(t["qkv"]) // side + _rows(t["cu_seqlens"]), spec.constants["heads"])


_INT = "INT32"
PLUGINS: Mapping[str, Plugin] = MappingProxyType(
    {
        plugin.name: plugin
        for plugin in (
            Plugin(
                name="embed_norm",
                inputs=("ids", "cu_seqlens", "tokens", "positions", "weight", "bias"),
                typed="tokens",
                kinds=(_INT, _INT, "", "", "", "", ""),
                outputs=_embed_outputs,
                extras=lambda t: (
                    _rows(t["ids"]),
                    _rows(t["cu_seqlens"]) - 1,
                    _rows(t["tokens"]),
                    _rows(t["positions"]),
                ),
                grid=lambda trtp, t, _: (trtp.cdiv(_rows(t["ids"]), embed_norm.ROWS),),
            ),
            Plugin(
                name="varlen_attention",
                inputs=("qkv", "cu_seqlens"),
                typed="qkv",
                kinds=("", _INT, ""),
                outputs=_attention_outputs,
                extras=lambda t: (_rows(t["qkv"]), _rows(t["cu_seqlens"]) - 1),
                grid=_attention_grid,
            ),
            Plugin(
                name="pool_heads",
                inputs=(
                    "x",
                    "cu_seqlens",
                    "query",
                    "mix",
                    "mix_bias",
                    "head",
                    "head_bias",
                    "slope",
                    "shift",
                ),
                typed="x",
                kinds=("", _INT, "", "", "", "", "", "FP32", "FP32", "FP32", "FP32"),
                outputs=_pool_outputs,
                extras=lambda t: (_rows(t["slope"]),),
                grid=lambda trtp, t, _: (_rows(t["cu_seqlens"]) - 1,),
            ),
        )
    }
)


def bare(made: Compiled, parameters: int) -> str:
    """The PTX with its first ``parameters`` parameters only.

    Raises KernelError if the code reads one of the others or needs scratch memory.
    """
    head = re.search(rf"\.entry\s+{re.escape(made.name)}\s*\(([^)]*)\)", made.ptx)
    if head is None:
        raise KernelError(f"the PTX has no entry {made.name}")
    declared = [line.strip() for line in head[1].split(",")]
    hidden = declared[parameters:]
    body = made.ptx[head.end() :]
    for line in hidden:
        name = line.split()[-1]
        if made.scratch or re.search(rf"\b{re.escape(name)}\b", body):
            raise KernelError(f"{made.op} needs scratch memory, which TensorRT does not bring")
    kept = ",\n\t".join(declared[:parameters])
    return made.ptx[: head.start(1)] + f"\n\t{kept}\n" + made.ptx[head.end(1) :]


def implementation(
    plugin: Plugin, trt: Any, trtp: Any, sizes: Sizes, target: int
) -> Callable[..., tuple[str, str, Any, Any]]:
    """The ahead-of-time function: name of the entry, PTX, launch, extra integers."""
    types = {trt.float16: torch.float16, trt.float32: torch.float32}

    def compiled(*given: Any) -> tuple[str, str, Any, Any]:
        tensors = dict(zip(plugin.inputs, given, strict=False))
        kind = types.get(tensors[plugin.typed].dtype)
        if kind is None:
            raise KernelError(f"{plugin.name}: {plugin.typed} must be half or float")
        spec = specs(sizes, kind)[plugin.name]
        made = compile_for(spec, target, PTX_VERSION)
        launch = trtp.KernelLaunchParams()
        grid = plugin.grid(trtp, tensors, spec)
        for axis, size in zip(("grid_x", "grid_y"), grid, strict=False):
            setattr(launch, axis, size)
        launch.block_x = made.threads
        launch.shared_mem = made.shared
        extras = plugin.extras(tensors)
        integers = trtp.SymIntExprs(len(extras))
        for i, value in enumerate(extras):
            integers[i] = trtp.SymInt32(value)
        parameters = sum(kind != "constexpr" for kind in spec.signature.values())
        return made.name, bare(made, parameters), launch, integers

    return compiled


def register(
    trt: Any,
    trtp: Any,
    sizes: Sizes,
    target: int,
    names: Sequence[str] = tuple(PLUGINS),
    namespace: str = NAMESPACE,
) -> None:
    """Declare the plugins with TensorRT, for one encoder and one compute capability.

    ``trt`` is ``tensorrt`` or ``tensorrt_rtx``, ``trtp`` its ``plugin`` module
    (:func:`kernels.trt.find`); ``target`` is 90 for 9.0. Once a process and ``namespace``:
    TensorRT refuses a name that is already declared.
    """
    for name in names:
        plugin = PLUGINS[name]
        count = len(plugin.kinds) - len(plugin.inputs)
        tensors = dict.fromkeys(plugin.inputs, trtp.TensorDesc)
        outputs = tuple[(trtp.TensorDesc,) * count]
        answer = tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]
        known = f"{namespace}::{name}"
        trtp.register(known)(_shaped(_describe(plugin, trtp, sizes), tensors, outputs))
        trtp.autotune(known)(
            _shaped(
                _combinations(plugin, trt, trtp),
                {**tensors, "outputs": outputs},
                list[trtp.AutoTuneCombination],
            )
        )
        made = implementation(plugin, trt, trtp, sizes, target)
        trtp.aot_impl(known)(_shaped(made, {**tensors, "outputs": outputs, "tactic": int}, answer))


def _describe(plugin: Plugin, trtp: Any, sizes: Sizes) -> Callable[..., tuple[Any, ...]]:
    def describe(*given: Any) -> tuple[Any, ...]:
        return plugin.outputs(trtp, dict(zip(plugin.inputs, given, strict=True)), sizes)

    return describe


def _combinations(plugin: Plugin, trt: Any, trtp: Any) -> Callable[..., list[Any]]:
    def combinations(*given: Any) -> list[Any]:
        kind = dict(zip(plugin.inputs, given, strict=False))[plugin.typed].dtype
        own = "FP16" if kind == trt.float16 else "FP32"
        return [trtp.AutoTuneCombination(", ".join(k or own for k in plugin.kinds), "LINEAR")]

    return combinations


def _shaped(
    function: Callable[..., Any], parameters: Mapping[str, Any], answer: Any
) -> Callable[..., Any]:
    """``function`` with the signature that TensorRT reads: names, order, annotations."""
    either = inspect.Parameter.POSITIONAL_OR_KEYWORD

    def positional(*args: Any, **named: Any) -> Any:
        bound = signature.bind(*args, **named)
        return function(*bound.args)

    signature = inspect.Signature(
        [inspect.Parameter(n, either, annotation=kind) for n, kind in parameters.items()],
        return_annotation=answer,
    )
    positional.__signature__ = signature  # type: ignore[attr-defined]
    positional.__annotations__ = {**parameters, "return": answer}
    return positional
