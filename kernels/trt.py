"""The one module over ``tensorrt`` and ``tensorrt_rtx``: what is here, and plans by it.

Contract: :func:`find` never raises. It answers the first of the packages that can be
imported, its version, and its quick-plugin module if that can be imported too; what is
missing comes with the reason in words. :func:`plan` turns a strongly typed ONNX graph into
a serialized engine, or raises PlanError with the parser's own words. TensorRT proper comes with
NVIDIA's images: of its packages the bindings can be had everywhere, the libraries not.
TensorRT-RTX is a package that builds engines without a GPU, for compute capabilities that do
not include 9.0, and is another product.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from sidecar.errors import SidecarError

PACKAGES = ("tensorrt", "tensorrt_bindings", "tensorrt_rtx")


class PlanError(SidecarError):
    """No plan can be built, or it must not be served; the message says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """A TensorRT, or None, with sentences about what could not be had."""

    module: ModuleType | None
    plugin: ModuleType | None
    reasons: tuple[str, ...]

    @property
    def name(self) -> str:
        """The package and its version, for logs and manifests."""
        if self.module is None:
            return "no TensorRT"
        return f"{self.module.__name__} {getattr(self.module, '__version__', 'of no version')}"


def find(packages: tuple[str, ...] = PACKAGES) -> Found:
    """The first of ``packages`` that imports, and its ``plugin`` module."""
    reasons = []
    for package in packages:
        module = _imported(package, reasons)
        if module is not None and hasattr(module, "Builder"):  # else a placeholder package
            return Found(module, _imported(f"{package}.plugin", reasons), tuple(reasons))
        if module is not None:
            reasons.append(f"{package} is a placeholder without a builder")
    return Found(None, None, tuple(reasons))


def _imported(name: str, reasons: list[str]) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, AttributeError) as error:  # OSError: a library of it is missing
        reasons.append(f"{name} can't be imported ({error})")
        return None


@cache
def logger(module: ModuleType) -> Any:
    """One for the process: TensorRT keeps the first it is given, and warns of a second."""
    return module.Logger(module.Logger.ERROR)


def plan(
    found: Found,
    onnx: bytes,
    tensor: str,
    profile: Mapping[str, Sequence[int]],
    compute: str | None = None,
) -> bytes:
    """A serialized engine for the graph ``onnx``, whose input ``tensor`` has one profile.

    ``profile``: shapes by "min", "opt" and "max". ``compute``, such as "8.9", builds for
    another GPU than this machine's, which TensorRT-RTX can and TensorRT can't. Precision is
    the graph's: the network is strongly typed. Raises PlanError.
    """
    trt = found.module
    if trt is None:
        raise PlanError(f"no TensorRT builds plans here: {'; '.join(found.reasons)}")
    log = logger(trt)
    builder = trt.Builder(log)
    flag = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flag)
    parser = trt.OnnxParser(network, log)  # after the network: it must not outlive it
    if not parser.parse(onnx):
        raise PlanError(f"{found.name} can't read the graph: {_said(parser)}")
    inputs = [network.get_input(i).name for i in range(network.num_inputs)]
    if inputs != [tensor]:
        raise PlanError(f"the graph takes {', '.join(inputs) or 'nothing'}, not {tensor} alone")
    if not any(t.dtype == trt.DataType.HALF for t in _products(trt, network)):
        raise PlanError("the graph computes nothing in half precision: it is another file")
    config = builder.create_builder_config()
    if compute is not None:
        _build_for(trt, config, compute)
    shapes = builder.create_optimization_profile()
    shapes.set_shape(tensor, *(tuple(profile[kind]) for kind in ("min", "opt", "max")))
    if config.add_optimization_profile(shapes) < 0:
        raise PlanError(f"{found.name} refuses the profile {dict(profile)}")
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise PlanError(f"{found.name} could not build the plan: its log says why")
    return bytes(built)


def _said(parser: Any) -> str:
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    return "; ".join(f"{e.node_operator()} {e.node_name()}: {e.desc()}".strip() for e in errors)


def _products(trt: ModuleType, network: Any) -> list[Any]:
    """What its matrix products answer."""
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    return [one.get_output(0) for one in layers if one.type == trt.LayerType.MATRIX_MULTIPLY]


def _build_for(trt: ModuleType, config: Any, compute: str) -> None:
    known = getattr(trt, "ComputeCapability", None)
    target = getattr(known, "SM" + compute.replace(".", ""), None)
    if target is None:
        raise PlanError(f"{trt.__name__} can't build for compute capability {compute} from here")
    config.num_compute_capabilities = 1
    config.set_compute_capability(target, 0)
