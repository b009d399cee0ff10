"""The graphs for GPUs are the same network as the CPU's, in ops and types that travel."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import INPUT, OUTPUTS


@pytest.fixture(scope="module")
def answers(bundle: Bundle) -> dict[str, dict[str, np.ndarray]]:
    ids = np.random.default_rng(0).integers(2, bundle.vocabulary, (4, 64)).astype(np.int32)
    ids[1:, 40:] = 0
    found = {}
    for precision in ("fp32", "fp16", "int8"):
        session = ort.InferenceSession(
            bundle.file(f"model.{precision}.onnx"), providers=["CPUExecutionProvider"]
        )
        values = session.run(list(OUTPUTS), {INPUT: ids})
        found[precision] = dict(zip(OUTPUTS, values, strict=True))
    return found


@pytest.mark.parametrize(("precision", "allowed"), [("fp16", 0.02), ("int8", 0.5)])
def test_every_precision_says_the_same(
    answers: dict[str, dict[str, np.ndarray]], precision: str, allowed: float
) -> None:
    for name in OUTPUTS:
        gap = np.abs(answers[precision][name] - answers["fp32"][name]).max()
        assert gap < allowed, name


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_answers_are_float32_whatever_the_weights_are(
    answers: dict[str, dict[str, np.ndarray]], precision: str
) -> None:
    assert {value.dtype for value in answers[precision].values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_graphs_for_gpus_hold_no_op_of_one_runtime(bundle: Bundle, precision: str) -> None:
    raw = bundle.file(f"model.{precision}.onnx")
    assert b"MultiHeadAttention" not in raw
    assert b"DynamicQuantizeLinear" not in raw


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("shape", [(1, 8), (3, 64), (2, 256)])
def test_graphs_for_gpus_take_any_batch_and_length(
    bundle: Bundle, precision: str, shape: tuple[int, int]
) -> None:
    session = ort.InferenceSession(
        bundle.file(f"model.{precision}.onnx"), providers=["CPUExecutionProvider"]
    )
    (demand,) = session.run(["demand"], {INPUT: np.full(shape, 7, np.int32)})
    assert demand.shape == (shape[0], bundle.demand)
    assert np.isfinite(demand).all()
