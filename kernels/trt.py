"""The one module over ``tensorrt`` and ``tensorrt_rtx``: which is here, and what it lacks.

Contract: :func:`find` never raises. It answers the first of the two packages that can
be imported, its version, and its quick-plugin module if that can be imported too; what
is missing comes with the reason in words. TensorRT proper is in NVIDIA's images and
not on package indexes; TensorRT-RTX is a package that builds engines without a GPU, for
compute capabilities that do not include 9.0, and is another product.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

PACKAGES = ("tensorrt", "tensorrt_rtx")


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
