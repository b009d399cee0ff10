"""Running a TensorRT plan on this machine's GPU, over CUDA's own runtime library.

Contract: :func:`gpus` names the GPUs that CUDA shows, the first of which plans are built on,
and :func:`lacking` says in words why there is none; :class:`Plan` runs one plan on batches of
rows, blocking. No torch: the image that serves has none. Needs a GPU, so no test in CI runs
:meth:`Plan.run`; ``bench/gpu.py`` does.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kernels.trt import Found, PlanError, logger

_NAMES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12")
_MAJOR, _MINOR = 75, 76  # cudaDevAttrComputeCapability*
_UP, _DOWN = 1, 2  # cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a plan is built for."""

    name: str
    compute: str  # such as "9.0"


def _libraries() -> Iterator[str]:
    """Where CUDA's runtime library may be: the system's, then what Python packages brought.

    Many a GPU machine has the driver and a torch from a package index, and no CUDA beside.
    """
    found = ctypes.util.find_library("cudart")
    yield from (*_NAMES, *([found] if found else []))
    packages = importlib.util.find_spec("nvidia")
    for folder in (packages and packages.submodule_search_locations) or ():
        yield from sorted(map(str, Path(folder).glob("*/lib/libcudart.so.*")), reverse=True)


def _runtime() -> ctypes.CDLL | None:
    for name in _libraries():
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def lacking() -> str:
    """Why CUDA can use no GPU here, in words; empty where it can."""
    cuda, count = _runtime(), ctypes.c_int(0)
    if cuda is None:
        return "CUDA's runtime library, libcudart, is not installed"
    code = cuda.cudaGetDeviceCount(ctypes.byref(count))
    if code != 0:
        cuda.cudaGetErrorString.restype = ctypes.c_char_p
        return f"CUDA says: {(cuda.cudaGetErrorString(code) or b'').decode()}"
    return "" if count.value else "CUDA counts no device"


def gpus() -> tuple[Gpu, ...]:
    """All that CUDA shows, in its order; none without a driver or CUDA's runtime library."""
    cuda, count = _runtime(), ctypes.c_int(0)
    if cuda is None or cuda.cudaGetDeviceCount(ctypes.byref(count)) != 0:
        return ()
    found = (_described(cuda, number) for number in range(count.value))
    return tuple(one for one in found if one is not None)


def gpu() -> Gpu | None:
    """The first of them, on which plans are built."""
    return next(iter(gpus()), None)


def _described(cuda: ctypes.CDLL, number: int) -> Gpu | None:
    # the name is the first 256 bytes of cudaDeviceProp in every version of it
    properties = ctypes.create_string_buffer(8192)
    get = getattr(cuda, "cudaGetDeviceProperties_v2", None) or cuda.cudaGetDeviceProperties
    if get(properties, number) != 0:
        return None
    values = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int(0)
        cuda.cudaDeviceGetAttribute(ctypes.byref(value), attribute, number)
        values.append(value.value)
    return Gpu(properties.raw[:256].split(b"\0")[0].decode(), f"{values[0]}.{values[1]}")


class Plan:
    """A plan on this machine's GPU. Raises PlanError where it can't be loaded."""

    def __init__(self, found: Found, raw: bytes) -> None:
        self._cuda = _runtime()
        trt = found.module
        if self._cuda is None or trt is None:
            raise PlanError("a plan needs a GPU, CUDA's runtime library and TensorRT")
        self._trt = trt
        self._engine = trt.Runtime(logger(trt)).deserialize_cuda_engine(raw)
        if self._engine is None:
            raise PlanError(
                f"{found.name} does not load the plan: it was built for another GPU or version"
            )
        self._context = self._engine.create_execution_context()
        self._stream = ctypes.c_void_p()
        self._check(self._cuda.cudaStreamCreate(ctypes.byref(self._stream)))
        self._memory: dict[str, tuple[ctypes.c_void_p, int]] = {}

    def run(self, tensor: str, rows: np.ndarray) -> Mapping[str, np.ndarray]:
        """The outputs for int32 ``rows`` [batch, length], by name."""
        rows = np.ascontiguousarray(rows, np.int32)
        if not self._context.set_input_shape(tensor, rows.shape):
            raise PlanError(f"the plan's profile has no room for {rows.shape}")
        self._copy(self._room(tensor, rows.nbytes), rows.ctypes.data, rows.nbytes, _UP)
        outputs = {}
        for i in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(i)
            if name != tensor:
                shape = tuple(self._context.get_tensor_shape(name))
                kind = self._trt.nptype(self._engine.get_tensor_dtype(name))
                outputs[name] = np.empty(shape, kind)
                self._room(name, outputs[name].nbytes)
        for name, (place, _) in self._memory.items():
            self._context.set_tensor_address(name, place.value)
        if not self._context.execute_async_v3(self._stream.value):
            raise PlanError("the plan failed on the GPU")
        self._check(self._cuda.cudaStreamSynchronize(self._stream))
        for name, value in outputs.items():
            place, _ = self._memory[name]
            self._copy(place, value.ctypes.data, value.nbytes, _DOWN)
        return outputs

    def _room(self, name: str, size: int) -> ctypes.c_void_p:
        place, had = self._memory.get(name, (ctypes.c_void_p(), 0))
        if had < size:
            if had:
                self._check(self._cuda.cudaFree(place))
            place = ctypes.c_void_p()
            self._check(self._cuda.cudaMalloc(ctypes.byref(place), ctypes.c_size_t(size)))
            self._memory[name] = (place, size)
        return self._memory[name][0]

    def _copy(self, place: ctypes.c_void_p, host: int, size: int, kind: int) -> None:
        ends = (place, ctypes.c_void_p(host)) if kind == _UP else (ctypes.c_void_p(host), place)
        self._check(self._cuda.cudaMemcpy(*ends, ctypes.c_size_t(size), kind))

    def _check(self, code: int) -> None:
        if code != 0:
            raise PlanError(f"CUDA failed with error {code}")

    def close(self) -> None:
        """Free what it holds on the GPU."""
        for place, _ in self._memory.values():
            self._cuda.cudaFree(place)
        self._memory.clear()
        self._cuda.cudaStreamDestroy(self._stream)
