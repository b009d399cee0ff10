"""The command for the day there is a GPU: it refuses without one, and its parts work."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench import gpu as bench
from bench.gpu import measure, rows, timed
from kernels.trt import find
from model_repo.cuda import Gpu, gpu
from model_repo.plans import Site
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.served import Served
from tests.support.triton import TritonServer

BUNDLE = Bundle.load()


def test_without_a_gpu_it_says_so_measures_nothing_and_exits_2() -> None:
    if gpu() is not None:
        pytest.skip("this machine has a GPU")
    command = [sys.executable, "-m", "bench.gpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert done.stderr == "There is no GPU here that CUDA can use: nothing was measured.\n"
    assert done.stdout == ""


@pytest.mark.timeout(300)
def test_clients_are_measured_end_to_end_and_recorded(
    triton_server: TritonServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = []
    monkeypatch.setattr(bench.ground, "record", lambda name, row: recorded.append((name, row)))
    monkeypatch.setattr(bench, "CLIENTS", (2, 40))
    monkeypatch.setattr(bench, "SECONDS", 2.0)
    site = Site(find(), Gpu("no GPU: the CPU repository", "0.0"), BUNDLE, Served.of(BUNDLE))
    assert measure(site, ["clients"], triton_server.url) == 0
    ((name, row),) = recorded
    assert (name, row["part"]) == ("gpu", "clients")
    few, many = row["2 clients"], row["40 clients"]
    assert few["per_s"] > 0
    assert few["failed"] == many["failed"] == 0
    assert few["p50_ms"] <= few["p99_ms"]
    assert (few["processes"], many["processes"]) == (1, 2)
    assert many["mean_batch"] > few["mean_batch"] >= 1.0
    assert "mean_batch" in capsys.readouterr().out


def test_rows_fill_their_bucket_and_times_are_in_order() -> None:
    ids = rows(BUNDLE, 3, 128)
    assert [len(row) for row in ids] == [128] * 3
    assert max(map(max, ids)) < BUNDLE.vocabulary
    found = timed(lambda: sum(range(100)), lambda: None)
    assert 0 < found["best_ms"] <= found["p50_ms"] <= found["p99_ms"]


def test_every_op_has_arguments_that_its_check_takes() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: the extra `kernels`")
    from bench.gpu_ops import arguments, floor_us
    from kernels.ops import OPS

    found = arguments(BUNDLE, 3, 64, "cpu", torch.float32)
    assert set(found) == set(OPS)
    for name, (args, options) in found.items():
        OPS[name](*args, backend="reference", **options)
        assert floor_us(BUNDLE, "NVIDIA L4", name, 3, 64) > 0
        assert floor_us(BUNDLE, "NVIDIA L40S", name, 3, 64) is None  # another card


def test_the_ways_over_torch_answer_every_row() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: the extra `kernels`")
    pytest.importorskip("onnx", reason="onnx is not installed: the extra `engines`")
    from bench.gpu import torch_ways
    from kernels.encoder import Choice

    plain = Choice("reference", "cpu", torch.float32, "asked for")
    answers = torch_ways(BUNDLE, {"torch": plain})["torch"](rows(BUNDLE, 3, 64))
    assert answers["task"].shape == (3, 17)
