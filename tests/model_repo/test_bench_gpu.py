"""The command for the day there is a GPU: it refuses without one, and its parts work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench import gpu as bench
from bench.gpu import collected, compiled_way, measure, rows, timed
from kernels.trt import find
from model_repo.cuda import Gpu, gpu, lacking
from model_repo.plans import Site
from sidecar.classify.triton_reader import TritonEncoder
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.served import Served
from sidecar.errors import DataError
from tests.support.triton import TritonServer, installed

BUNDLE = Bundle.load()


def test_without_a_gpu_it_says_so_measures_nothing_and_exits_2() -> None:
    if gpu() is not None:
        pytest.skip("this machine has a GPU")
    command = [sys.executable, "-m", "bench.gpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"There is no GPU here that CUDA can use ({lacking()}): nothing was measured.\n"
    )
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
    assert few["apart_s"] == 0 <= many["apart_s"] < 0.5  # of two seconds that are measured
    assert many["mean_batch"] > few["mean_batch"] >= 1.0
    assert "mean_batch" in capsys.readouterr().out


@pytest.mark.timeout(300)
def test_the_server_of_the_benchmark_is_its_own_on_ports_that_nobody_has(
    triton_server: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started by the image's script, over the CPU's repository; gone when it was asked."""
    home = installed()
    assert home is not None
    # what the image's own tritonserver knows by itself
    backends = triton_server.log.parent / "backends"
    stub = tmp_path / "bin" / "tritonserver"
    stub.parent.mkdir()
    options = f"--backend-directory={backends} --allow-gpu-metrics=false"
    stub.write_text(f'#!/bin/sh\nexec {home}/bin/tritonserver {options} "$@"\n')
    stub.chmod(0o755)
    path = [stub.parent, Path(sys.executable).parent, os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, path)))
    monkeypatch.setenv("PYTHONPATH", str(bench.ROOT))
    monkeypatch.setattr(bench, "WORK", tmp_path)
    with bench.server("cpu", within_s=90.0) as url:
        assert url != triton_server.url
        (ids,) = rows(BUNDLE, 1, 64)
        with closing(TritonEncoder(BUNDLE, url)) as own:
            (found,) = own.read_ids([ids])
        with closing(TritonEncoder(BUNDLE, triton_server.url)) as other:
            assert other.read_ids([ids]) == [found]
    with pytest.raises(DataError, match="UNAVAILABLE"):
        TritonEncoder(BUNDLE, url)


def test_a_part_that_fails_keeps_what_it_had_and_the_others_follow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = []
    monkeypatch.setattr(bench.ground, "record", lambda name, row: recorded.append(row))
    monkeypatch.setattr(bench.shutil, "which", lambda name: None)
    monkeypatch.setattr(bench, "CLIENTS", (1,))

    def plans(site: Site) -> Iterator[tuple[str, dict[str, int]]]:
        yield "plan 64", {"bytes": 7}
        raise RuntimeError("out of memory")

    monkeypatch.setattr(bench, "plans", plans)
    site = Site(find(), Gpu("no GPU", "0.0"), BUNDLE, Served.of(BUNDLE))
    assert measure(site, ["plans", "clients"], None) == 1
    first, second = recorded
    assert first["plan 64"] == {"bytes": 7}
    assert first["failed"] == "RuntimeError: out of memory"
    assert second["part"] == "clients"
    assert second["failed"].startswith("tritonserver is not on the path")
    assert "plans went no further: RuntimeError" in capsys.readouterr().err
    assert collected(iter([("a", {"b": 1})])) == ({"a": {"b": 1}}, "")


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
        assert floor_us(BUNDLE, "NVIDIA H100 80GB HBM3", name, 3, 64) > 0
        for other in ("NVIDIA L40S", "NVIDIA H100 PCIe", "NVIDIA H100 NVL"):  # of other peaks
            assert floor_us(BUNDLE, other, name, 3, 64) is None


def test_the_ways_over_torch_answer_every_row() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: the extra `kernels`")
    pytest.importorskip("onnx", reason="onnx is not installed: the extra `engines`")
    from bench.gpu import torch_ways
    from kernels.encoder import Choice

    plain = Choice("reference", "cpu", torch.float32, "asked for")
    ids = rows(BUNDLE, 3, 64)
    way = torch_ways(BUNDLE, {"torch": plain})["torch"]
    assert way(ids)["task"].shape == (3, 17)
    traced = compiled_way(BUNDLE, plain, "eager")  # all of torch.compile but the code it writes
    for batch in (ids, ids[:2], rows(BUNDLE, 5, 128)):
        torch.compiler.reset()  # as the benchmark does for each
        wanted = way(batch)
        for name, value in traced(batch).items():
            torch.testing.assert_close(value, wanted[name])
