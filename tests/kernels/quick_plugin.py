"""A stand-in for ``tensorrt.plugin``: what its documentation says of decorators and types.

TensorRT's own module needs TensorRT, which can't be installed here. This one checks a
plugin's functions as the documented module does (names and order of arguments,
annotations, the returned tuple) and evaluates shape expressions with numbers, so that a
test can read a grid. It proves the Python side only.
"""

from __future__ import annotations

import inspect
import typing
from types import SimpleNamespace

TRT = SimpleNamespace(float16="HALF", float32="FLOAT", int32="INT32")


class TensorDesc:
    def __init__(self, shape, dtype):
        self.shape_expr, self.dtype = tuple(shape), dtype


class KernelLaunchParams:
    def __init__(self):
        self.grid_x = self.grid_y = self.grid_z = 1
        self.block_x = self.block_y = self.block_z = 1
        self.shared_mem = 0


class SymIntExprs(list):
    def __init__(self, count):
        super().__init__([None] * count)


class SymInt32(int):
    pass


class AutoTuneCombination:
    def __init__(self, io_types, layouts):
        self.io_types, self.layouts = io_types, layouts


class QuickPlugins:
    """One registry; holds what each decorator was given, after checking it."""

    TensorDesc = TensorDesc
    KernelLaunchParams = KernelLaunchParams
    SymIntExprs = SymIntExprs
    SymInt32 = SymInt32
    AutoTuneCombination = AutoTuneCombination

    def __init__(self):
        self.described, self.tuned, self.compiled = {}, {}, {}

    @staticmethod
    def from_shape_expr(shape_expr, dtype):
        return TensorDesc(shape_expr, dtype)

    @staticmethod
    def cdiv(a, b):
        return -(-a // b)

    def register(self, name):
        def accept(function):
            namespace, _, plain = name.partition("::")
            assert plain
            assert namespace not in ("", "trt", "tensorrt", "std")
            assert "." not in name
            assert name not in self.described
            signature = inspect.signature(function)
            for parameter in signature.parameters.values():
                assert parameter.annotation is TensorDesc
                assert parameter.default is inspect.Parameter.empty
                assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            assert typing.get_origin(signature.return_annotation) is tuple
            assert set(typing.get_args(signature.return_annotation)) == {TensorDesc}
            self.described[name] = function
            return function

        return accept

    def _follows(self, name, function, *more):
        registered = inspect.signature(self.described[name])
        signature = inspect.signature(function)
        assert list(signature.parameters) == [*registered.parameters, *more]
        outputs = signature.parameters["outputs"].annotation
        assert outputs == registered.return_annotation
        return signature.return_annotation

    def autotune(self, name):
        def accept(function):
            answer = self._follows(name, function, "outputs")
            assert typing.get_args(answer) == (AutoTuneCombination,)
            self.tuned[name] = function
            return function

        return accept

    def aot_impl(self, name):
        def accept(function):
            answer = self._follows(name, function, "outputs", "tactic")
            assert typing.get_args(answer) == (str, str, KernelLaunchParams, SymIntExprs)
            self.compiled[name] = function
            return function

        return accept
