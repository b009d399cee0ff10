"""Torch runs the same graph to the same answers, or says what it lacks."""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime as ort
import pytest

from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import INPUT, OUTPUTS, OnnxEncoder, pad
from sidecar.encoder.torch_graph import TorchEncoder
from sidecar.errors import EncoderError

WINDOWS = ["hi", "Prove that every bounded sequence has a convergent subsequence. " * 5, "Привет"]


def test_torch_answers_what_onnx_runtime_answers(bundle: Bundle) -> None:
    pytest.importorskip("torch", reason="the torch backend needs torch: the extra `train`")
    pytest.importorskip("onnx", reason="the torch backend needs onnx: the extra `train`")
    ids = OnnxEncoder(bundle).tokens.encode(WINDOWS)
    session = ort.InferenceSession(
        bundle.file("model.fp32.onnx"), providers=["CPUExecutionProvider"]
    )
    values = dict(zip(OUTPUTS, session.run(list(OUTPUTS), {INPUT: pad(ids)}), strict=True))
    for i, reading in enumerate(TorchEncoder(bundle, "cpu").read_ids(ids)):
        assert np.abs(values["demand"][i] - reading.demand).max() < 1e-3
        assert np.abs(values["task"][i] - reading.task_probs).max() < 1e-3
        assert abs(values["difficulty"][i] - reading.difficulty) < 1e-3
        assert abs(values["ood"][i] - reading.ood) < 1e-3
        assert reading.version == bundle.version


def test_without_torch_the_error_says_what_to_install(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EncoderError, match="pip install torch onnx"):
        TorchEncoder(bundle)
