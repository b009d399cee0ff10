"""500 real prompts are decided alike by torch, ONNX in three precisions, and Triton."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.parity import data_file, faults, measure, prompts
from model_repo.parity import Parity, compare
from sidecar.encoder.bundle import Bundle
from sidecar.types import DOMAINS, TASKS, TIERS, Reading
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
    labels = ((0.75, *[0.0] * (len(names) - 2), 0.25) for names in (TASKS, DOMAINS, TIERS))
    return Reading(0.5, demand, *labels)


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


GOOD = Parity(500, 1.0, 1.0, 1.0, 1.0, 0.01, 0.01, 0.01, 0.015, 0.02)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"same_decision": 0.95}, "it decides as the reference on 95.00% of 500 prompts only"),
        ({"same_task": 0.9}, "it sees the same task in 90.00% of 500 only"),
        ({"same_domain": 0.9}, "it sees the same domain in 90.00% of 500 only"),
        ({"same_tier": 0.9}, "it sees the same tier in 90.00% of 500 only"),
        ({"suffices_max": 0.3}, "a model's chance differs by 0.300, over 0.02"),
        ({"difficulty_max": 0.3}, "difficulty differs by 0.300, over 0.02"),
        ({"label_max": 0.021}, "a label's probability differs by 0.021, over 0.02"),
    ],
)
def test_what_is_not_kept_is_said(change: dict[str, float], said: str) -> None:
    assert faults({"torch": GOOD, "onnx fp16": GOOD, "onnx int8": GOOD}) == []
    bad = replace(GOOD, **change)  # type: ignore[arg-type]
    assert faults({"onnx fp16": bad}) == [f"onnx fp16: {said}"]


def test_int8s_labels_keep_their_bound_on_97_of_100_prompts_and_a_wider_one_on_all() -> None:
    assert faults({"onnx int8": replace(GOOD, label_p99=0.06, label_max=0.14)}) == []
    assert faults({"triton": replace(GOOD, label_p97=0.06, label_max=0.16)}) == [
        "triton: a label's probability differs by 0.160, over 0.15",
        "triton: a label's probability differs, in more than 3% of them, by 0.060, over 0.05",
    ]


@pytest.mark.parametrize("label", ["task", "domain", "tier"])
def test_a_label_that_is_read_otherwise_is_counted(label: str) -> None:
    bundle = Bundle.load()
    one = [reading(0.0, bundle)] * 10
    field = f"{label}_probs"
    shifted = tuple(getattr(one[0], field)[::-1])
    assert shifted[0] != getattr(one[0], field)[0]
    parity = compare(one, [*one[:9], replace(one[0], **{field: shifted})], bundle)
    assert getattr(parity, f"same_{label}") == pytest.approx(0.9)
    assert parity.label_max == pytest.approx(abs(shifted[0] - shifted[-1]))
    assert (parity.same_decision, parity.suffices_max) == (1.0, 0.0)
