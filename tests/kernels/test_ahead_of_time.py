"""Kernels compiled for real GPUs without one, and the quick plugins that carry them."""
# ruff: noqa: E402

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="kernels need torch: the extra `kernels`")
pytest.importorskip("triton", reason="kernels need triton: the extra `kernels`")

from kernels import trt
from kernels.compile import HERE, TARGETS, Compiled, Row, Sizes, compile_for, markdown, specs
from kernels.embed_norm import ROWS
from kernels.ops import OPS, KernelError
from kernels.plugin import PLUGINS, bare
from kernels.varlen_attention import tiles
from sidecar.encoder.bundle import Bundle
from tests.kernels.quick_plugin import libraries, missing

ROOT = Path(__file__).parents[2]
# of shared memory, that a launch gets without having the kernel's limit raised before
UNASKED = 48 * 1024


def asked(what: str, folder: Path, **more: str):
    """What a process without the interpreter answers, compiling afresh."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(folder / "cache"), **more}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.kernels.ahead_of_time", what],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # TensorRT's log is before it


@pytest.mark.timeout(600)
def test_no_kernel_spills_on_any_target_and_the_committed_table_is_its_figures(tmp_path):
    answer = asked("table", tmp_path)
    found = answer["kept"]
    wanted = {(op, dtype, t) for op in OPS for dtype in ("fp16", "fp32") for t in TARGETS}
    assert {(r["op"], r["dtype"], r["target"]) for r in found} == wanted
    for row in found + answer["shipped"]:
        assert row["spills"] == 0, row
        assert 0 < row["registers"] <= 255, row
        assert row["shared"] < UNASKED, row
    kept = json.loads((HERE / "resources.json").read_text())
    assert kept["rows"] == found
    assert markdown([Row(**r) for r in kept["rows"]]) in (HERE / "RESOURCES.md").read_text()


@pytest.mark.timeout(600)
def test_tensorrts_own_plugin_module_takes_each_plugin_and_compiles_what_it_would_launch(tmp_path):
    if why := missing():
        pytest.skip(why)
    (tmp_path / "lib").mkdir()
    where = str(libraries(tmp_path / "lib"))
    answer = asked("plugins", tmp_path, LD_LIBRARY_PATH=where)
    sizes, found = answer["sizes"], answer["found"]
    assert int(answer["tensorrt"].split(".")[0]) >= 11
    assert set(PLUGINS) <= set(answer["known"])
    assert answer["bound"] == [True] * len(PLUGINS)
    assert "already has" in answer["again"]
    heads = sizes["demand"] + sum(sizes["labels"]) + 2
    assert len(found) == len(PLUGINS) * len(TARGETS) * 2
    for one in found:
        kind = one["kind"]
        side = {"HALF": 64, "FLOAT": 32}[kind]
        assert one["assembles"], one
        assert one["version"] == "8.3"
        assert one["entry"] == f"{one['name']}_kernel"
        assert one["parameters"] == one["given"] + len(one["integers"]) + len(one["outputs"])
        types, layouts = zip(*one["combinations"], strict=True)
        assert set(layouts) == {"LINEAR"}
        assert len(types) == one["given"] + len(one["outputs"])
        assert (one["block"] % 32, one["block"] > 0) == (0, True)
        assert 0 <= one["shared"] < UNASKED, one
        if one["name"] == "embed_norm":
            assert one["outputs"] == [[[1000, sizes["embed"]], kind]]
            assert one["grid"] == [-(-1000 // ROWS), 1, 1]
            assert one["integers"] == [1000, 7, 17309, 256]
            assert types == ("INT32", "INT32", kind, kind, kind, kind, kind)
        elif one["name"] == "varlen_attention":
            assert one["outputs"] == [[[1000, sizes["width"]], kind]]
            assert one["grid"] == [tiles(1000, 7, side.bit_length() - 1), sizes["heads"], 1]
            assert one["integers"] == [1000, 7]
            assert types == (kind, "INT32", kind)
        else:
            assert one["outputs"] == [[[7, heads], "FLOAT"], [[7, 85], "FLOAT"]]
            assert one["grid"] == [7, 1, 1]
            assert one["integers"] == [85]
            assert types == (kind, "INT32", *[kind] * 5, *["FLOAT"] * 4)


def test_plugins_are_the_ops_with_the_same_names_and_tensors():
    assert list(PLUGINS) == list(OPS)
    sizes = Sizes.of_manifest(Bundle.load().manifest)
    for name, spec in specs(sizes, torch.float16).items():
        plugin, pointers = PLUGINS[name], [n for n, k in spec.signature.items() if k[0] == "*"]
        assert tuple(pointers[: len(plugin.inputs)]) == plugin.inputs
        kinds = [spec.signature[n] for n in pointers]
        written = {"INT32": "*i32", "FP32": "*fp32", "": "*fp16"}
        assert [written[k] for k in plugin.kinds] == kinds


def compiled(ptx: str, scratch: int = 0) -> Compiled:
    return Compiled("op", "kernel", 90, ptx, b"", 0, 128, scratch)


def test_hidden_scratch_parameters_are_taken_from_the_code_only_if_unused():
    text = (
        ".visible .entry kernel(\n .param .u64 p_0,\n .param .u32 p_1,\n .param .u64 p_2\n)\n{%s}"
    )
    assert re.sub(r"\s+", " ", bare(compiled(text % "ld [p_0]"), 2)) == (
        ".visible .entry kernel( .param .u64 p_0, .param .u32 p_1 ) {ld [p_0]}"
    )
    for broken in (compiled(text % "ld [p_2]"), compiled(text % "", scratch=8)):
        with pytest.raises(KernelError, match="needs scratch memory"):
            bare(broken, 2)
    with pytest.raises(KernelError, match="no entry"):
        bare(compiled(".visible .entry other()"), 2)


def test_compiling_in_the_interpreters_process_is_refused():
    sizes = Sizes.of_manifest(Bundle.load().manifest)
    with pytest.raises(KernelError, match="TRITON_INTERPRET is set"):
        compile_for(specs(sizes, torch.float16)["embed_norm"], 90)


def test_a_missing_tensorrt_is_none_with_its_reason():
    found = trt.find(("no_such_tensorrt", "json"))
    assert (found.module, found.plugin, found.name) == (None, None, "no TensorRT")
    assert "no_such_tensorrt can't be imported" in found.reasons[0]
    assert found.reasons[1] == "json is a placeholder without a builder"
    here = trt.find()
    assert here.module is not None or len(here.reasons) >= len(trt.PACKAGES)
