"""TensorRT's own quick plugins without its engine, driven as a building engine drives them.

The package index has TensorRT's Python bindings and not the libraries under them. They load
over TensorRT-RTX's libraries, which export the same functions; a compiler makes the one that is
missing there and is never called (:func:`libraries`). So the decorators, their checks, the plugin
registry and the plugin class that an engine holds are TensorRT's own (:func:`load`).

What calls that class is this module and not an engine, which would take TensorRT-RTX for what it
is not: :class:`Driven` makes the calls of a build in their order, with expressions that are
numbers. That an engine launches what it is told is for a machine with a GPU.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

LINKS = {
    "libnvinfer.so.11": "libtensorrt_rtx.so.1",
    "libnvonnxparser.so.11": "libtensorrt_onnxparser_rtx.so.1",
}
LACKING = "int initLibNvInferPlugins(void *logger, const char *space) { return 0; }"


def missing() -> str:
    """Why TensorRT's bindings can't be loaded here; empty where they can."""
    for package in ("tensorrt_bindings", "tensorrt_rtx_libs"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed: the extra `engines`"
    return "" if shutil.which("cc") else "there is no C compiler: apt-get install gcc"


def libraries(folder: Path) -> Path:
    """What the bindings look for, in ``folder``: a process finds it by LD_LIBRARY_PATH."""
    spec = importlib.util.find_spec("tensorrt_rtx_libs")
    assert spec is not None
    assert spec.origin is not None
    for name, real in LINKS.items():
        (folder / name).symlink_to(Path(spec.origin).parent / real)
    made = folder / "libnvinfer_plugin.so.11"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(made)]
    subprocess.run(command, input=LACKING, text=True, check=True)
    return folder


def load() -> tuple[ModuleType, ModuleType]:
    """``tensorrt`` and ``tensorrt.plugin``, under the names that they have with libraries."""
    with warnings.catch_warnings(action="ignore"):  # of their documentation's backslashes
        trt = importlib.import_module("tensorrt_bindings")
        sys.modules["tensorrt"] = trt
        plugin = importlib.import_module("tensorrt_bindings.plugin")
        sys.modules["tensorrt.plugin"] = plugin
    return trt, plugin


class Expressions:
    """TensorRT's builder of expressions, for numbers: ``constant`` and ``operation`` are its."""

    def __init__(self, trt: ModuleType) -> None:
        op = trt.DimensionOperation
        self._ops = {
            op.SUM: lambda a, b: a + b,
            op.SUB: lambda a, b: a - b,
            op.PROD: lambda a, b: a * b,
            op.FLOOR_DIV: lambda a, b: a // b,
            op.CEIL_DIV: lambda a, b: -(-a // b),
            op.MAX: max,
            op.MIN: min,
        }
        # an engine alone can make a real one; what only passes it on takes this for one
        self._kind = type("Number", (trt.IDimensionExpr,), {})

    def constant(self, value: int) -> Any:
        one = self._kind.__new__(self._kind)
        one.number = value
        return one

    def operation(self, op: Any, a: Any, b: Any) -> Any:
        return self.constant(self._ops[op](a.number, b.number))


def _telling(plugin: ModuleType) -> None:
    """Expressions that TensorRT hands to a launch keep their number where a test can read it."""
    tensors = importlib.import_module(f"{plugin.__name__}._tensor")
    if tensors.SymExprImpl.__name__ != "Told":

        class Told(tensors.SymExprImpl):
            def __init__(self, expression: Any) -> None:
                super().__init__(expression)
                self.number = expression._expr.number

        tensors.SymExprImpl = Told


@dataclass(frozen=True)
class Given:
    """A tensor of a network: its shape, and a type of TensorRT's."""

    shape: tuple[int, ...]
    kind: Any


@dataclass(frozen=True)
class Driven:
    """What an engine learns of one plugin while it is built."""

    outputs: list[tuple[list[int], str]]  # shape and type of each
    combinations: list[tuple[str, str]]  # type and layout of each input, then output
    entry: str
    ptx: str
    grid: list[int]
    block: int
    shared: int
    integers: list[int]

    @classmethod
    def by_build(cls, trt: ModuleType, plugin: ModuleType, known: str, inputs: list[Given]) -> Any:
        """Take ``known`` (namespace::name) from the registry and make a build's calls."""
        _telling(plugin)
        space, _, name = known.partition("::")
        creator = trt.get_plugin_registry().get_creator(name, "1", space)
        ahead = trt.QuickPluginCreationRequest.STRICT_AOT
        fields, build = trt.PluginFieldCollection([]), trt.TensorRTPhase.BUILD
        one = creator.create_plugin(name, space, fields, build, ahead)

        made = Expressions(trt)
        kinds = one.get_output_data_types([i.kind for i in inputs], [len(i.shape) for i in inputs])
        one.get_output_shapes([[made.constant(n) for n in i.shape] for i in inputs], [], made)
        shapes = [[e._expr.number for e in each.shape_expr] for each in one.output_descs]
        outputs = [Given(tuple(s), k) for s, k in zip(shapes, kinds, strict=True)]
        tensors = [_described(trt, each) for each in (*inputs, *outputs)]
        found = one.get_supported_format_combinations(tensors, len(inputs))
        one.configure_plugin(tensors[: len(inputs)], tensors[len(inputs) :])
        assert one.get_valid_tactics() == []
        one.set_tactic(0)  # what is asked of a plugin without any
        launch, extras = SimpleNamespace(), Extras()
        importlib.import_module(f"{plugin.__name__}._tensor").SymIntExpr._exprBuilder = made
        one.get_launch_params(None, tensors, len(inputs), launch, extras, made)
        plain = [each.desc for each in tensors]
        entry, ptx = one.get_kernel(plain[: len(inputs)], plain[len(inputs) :])
        return cls(
            outputs=[(s, k.name) for s, k in zip(shapes, kinds, strict=True)],
            combinations=[(each.type.name, each.format.name) for each in found],
            entry=entry,
            ptx=ptx.decode(),
            grid=[launch.grid_x.number, launch.grid_y.number, launch.grid_z.number],
            block=launch.block_x.number,
            shared=launch.shared_mem.number,
            integers=[extras[i].number for i in range(extras.nbSymExprs)],
        )


class Extras(dict[int, Any]):
    """Where TensorRT's plugin class puts the integers between inputs and outputs."""

    nbSymExprs = 0


def _described(trt: ModuleType, given: Given) -> Any:
    plain, dynamic = trt.PluginTensorDesc(), trt.DynamicPluginTensorDesc()
    plain.type, plain.format, plain.dims = given.kind, trt.TensorFormat.LINEAR, given.shape
    dynamic.desc = plain
    return dynamic
