"""500 real prompts are decided alike by torch, ONNX in three precisions, and Triton."""

from __future__ import annotations

import numpy as np
import pytest

from bench.parity import data_file, faults, measure, prompts
from model_repo.parity import Parity, compare
from sidecar.encoder.bundle import Bundle
from sidecar.types import Reading
from tests.support.triton import TritonServer


@pytest.mark.timeout(600)
def test_every_way_to_run_the_encoder_decides_alike(triton_server: TritonServer) -> None:
    pytest.importorskip("torch", reason="torch is not installed: the extra `kernels`")
    pytest.importorskip("onnx", reason="onnx is not installed: the extra `engines`")
    file = data_file()
    if file is None:
        pytest.skip("there are no prompts: set DATA_DIR to the folder of prompts.jsonl.gz")
    found = measure(prompts(file, 500), triton_server.url)
    assert set(found) == {"torch", "onnx fp16", "onnx int8", "triton"}
    assert {parity.rows for parity in found.values()} == {500}
    assert faults(found) == []


def reading(shift: float, bundle: Bundle) -> Reading:
    rng = np.random.default_rng(3)
    demand = tuple((rng.normal(size=bundle.demand) + shift).tolist())
    return Reading(0.5, demand, (0.5, 0.5), (1.0,), (1.0,))


def test_a_difference_is_counted() -> None:
    bundle = Bundle.load()
    one = [reading(0.0, bundle)] * 10
    assert compare(one, one, bundle).faults(1.0, 0.0) == []
    other = [*one[:9], reading(0.5, bundle)]
    parity = compare(one, other, bundle)
    assert parity.suffices_max > 0.0
    assert parity.faults(0.99, parity.suffices_max / 2)
    with pytest.raises(ValueError, match="9 readings for 10 rows"):
        compare(one, other[:9], bundle)


def test_what_is_not_kept_is_said() -> None:
    bad = Parity(500, 0.95, 0.3, 0.01, 0.02, 0.9)
    assert faults({"onnx fp16": bad}) == [
        "onnx fp16: it decides as the reference on 95.00% of 500 prompts only",
        "onnx fp16: it sees the same task in 90.00% of them only",
        "onnx fp16: a model's chance differs by 0.300, over 0.02",
    ]
    assert len(faults({"onnx int8": bad})) == 3
