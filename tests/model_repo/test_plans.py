"""Plans are built for real without a GPU, keyed, compared, and refused with a sentence.

TensorRT-RTX builds them for other GPUs than this machine has; it is another product than
TensorRT, so that it builds is strong evidence and no proof.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from kernels.trt import PlanError, find, plan
from model_repo import cuda
from model_repo.cuda import Gpu, gpu, lacking
from model_repo.generate import profile
from model_repo.guard import guarded
from model_repo.parity import graph
from model_repo.plans import FULL, HALF, Site, agree, ensure, faults, here, main, rows_for
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import INPUT
from sidecar.encoder.served import Served
from sidecar.encoder.tokens import UNKNOWN, Tokens
from sidecar.errors import EncoderError

FOUND = find()
BUNDLE = Bundle.load()
SERVED = Served.of(BUNDLE)
L4 = Gpu("NVIDIA L4", "8.9")
SITE = Site(FOUND, L4, BUNDLE, SERVED)

pytestmark = pytest.mark.timeout(300)
needs_builder = pytest.mark.skipif(
    FOUND.module is None, reason="tensorrt-rtx is not installed: the extra `engines`"
)


@needs_builder
@pytest.mark.parametrize("compute", ["8.0", "8.6", "8.9"])
def test_the_half_precision_graph_builds_with_every_buckets_profile(compute):
    pytest.importorskip("onnx", reason="onnx is not installed: the extra `engines`")
    for bucket in SERVED.buckets:
        whole = guarded(BUNDLE.file(HALF), BUNDLE.vocabulary)
        assert len(plan(FOUND, whole, INPUT, profile(bucket), compute)) > 1_000_000


def changed(change) -> bytes:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: the extra `engines`")
    model = onnx.load_from_string(BUNDLE.file(HALF))
    change(model.graph, onnx)
    return model.SerializeToString()


@needs_builder
def test_an_operator_that_tensorrt_does_not_know_is_named():
    def unknown(made, onnx):
        next(node for node in made.node if node.op_type == "Softmax").op_type = "Nonsense"

    with pytest.raises(PlanError, match=r"can't read the graph: .*Nonsense"):
        plan(FOUND, changed(unknown), INPUT, profile(64), "8.9")


@needs_builder
def test_types_that_do_not_fit_are_refused():
    def mixed(made, onnx):
        half = onnx.TensorProto.FLOAT16
        weight = next(i for i in made.initializer if i.data_type == half and len(i.dims) == 2)
        full = onnx.numpy_helper.to_array(weight).astype("f4")
        weight.CopyFrom(onnx.numpy_helper.from_array(full, weight.name))

    with pytest.raises(PlanError):
        plan(FOUND, changed(mixed), INPUT, profile(64), "8.9")


@needs_builder
@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "takes nothing, not input_ids alone"),
        (BUNDLE.file(HALF)[:-5000], "can't read the graph"),
        (BUNDLE.onnx, "can't read the graph"),  # dynamic int8 is for the CPU
        (BUNDLE.file(FULL), "nothing in half precision"),
    ],
    ids=["empty", "cut short", "int8", "fp32"],
)
def test_another_file_than_the_half_precision_graph_is_refused(raw, said):
    with pytest.raises(PlanError, match=said):
        plan(FOUND, raw, INPUT, profile(64), "8.9")


@needs_builder
def test_a_gpu_that_cannot_be_built_for_from_here_is_named():
    with pytest.raises(PlanError, match=r"compute capability 9\.0"):
        plan(FOUND, BUNDLE.file(HALF), INPUT, profile(64), "9.0")


def test_without_tensorrt_the_reasons_are_given():
    with pytest.raises(PlanError, match=r"no TensorRT builds plans here: nothing can't be"):
        plan(find(("nothing",)), b"", INPUT, profile(64))


# -- what a plan must be to serve ------------------------------------------------------


def manifest(bucket: int = 64, raw: bytes = b"plan") -> dict:
    return json.loads(json.dumps(SITE.manifest(bucket, raw)))


def test_a_plan_that_fits_has_no_faults():
    assert faults(manifest(), b"plan", SITE, 64) == []


def swapped(values: str) -> str:
    return json.dumps(json.loads(values)[::-1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["key"].update(gpu="NVIDIA H100"), "GPU NVIDIA H100, this one is NVIDIA L4"),
        (lambda m: m["key"].update(compute="9.0"), "capability 9.0, this GPU has 8.9"),
        (lambda m: m["key"].update(tensorrt="tensorrt 9.1"), "was built by tensorrt 9.1"),
        (lambda m: m["key"].update(weights="0" * 64), "from other weights (000000000000)"),
        (lambda m: m["parameters"].update(tokenizer_sha256="0"), "has tokenizer_sha256 0"),
        (
            lambda m: m["parameters"].update(labels_tier=swapped(m["parameters"]["labels_tier"])),
            'has labels_tier ["complex", "moderate", "simple"], the encoder has ["simple"',
        ),
        (lambda m: m["profile"].update(max=[32, 32]), "takes 64 ids, the profile of its plan ends"),
        (lambda m: m.update(plan="0"), "it is corrupt"),
        (lambda m: m.pop("ids"), "does not bear ids that no vocabulary has"),
        (lambda m: m.update(profile=[]), "its plan says of no profile how many"),
    ],
    ids=[
        *("gpu", "compute", "tensorrt", "weights", "tokenizer", "labels", "profile", "corrupt"),
        *("unguarded", "no profile"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_with_one_sentence(change, said):
    wrong = manifest()
    change(wrong)
    (fault,) = faults(wrong, b"plan", SITE, 64)
    assert said in fault
    assert fault.startswith(SERVED.name(64))


def test_a_bucket_longer_than_its_profile_is_refused():
    wrong = faults(manifest(bucket=64), b"plan", SITE, 128)
    assert wrong == [f"{SERVED.name(128)} takes 128 ids, the profile of its plan ends at 64"]


@pytest.mark.parametrize(
    "values", [{}, dict.fromkeys(manifest()), {key: [1] for key in manifest()}]
)
def test_no_manifest_at_all_is_refused(values):
    assert len(faults(values, b"plan", SITE, 64)) >= 6


def half_on_the_cpu(site, raw, bucket):
    return graph(BUNDLE.file(HALF), BUNDLE.version)


@needs_builder
def test_a_plan_is_built_once_for_each_key(tmp_path):
    said = []
    once = {"say": said.append, "judge": half_on_the_cpu, "compute": "8.9"}
    raw = ensure(SITE, 64, tmp_path, **once)
    folder = tmp_path / SITE.key().folder
    kept = json.loads((folder / "router_64.json").read_text())
    assert kept["parity"]["same_decision"] >= 0.99
    assert kept["key"]["gpu"] == "NVIDIA L4"
    assert ensure(SITE, 64, tmp_path, **once) == raw
    assert "agrees with fp32" in said[0]
    assert "fits" in said[1]
    (folder / "router_64.plan").write_bytes(raw[:-1])  # a disk that filled up
    ensure(SITE, 64, tmp_path, **once)
    assert "it is corrupt" in said[2]
    other = replace(SITE, gpu=Gpu("NVIDIA A10", "8.6"))
    ensure(other, 64, tmp_path, **{**once, "compute": "8.6"})
    assert len(list(tmp_path.iterdir())) == 2


@needs_builder
def test_a_cache_that_cannot_be_written_costs_the_next_start_and_not_this_one(tmp_path):
    said = []
    once = {"say": said.append, "judge": half_on_the_cpu, "compute": "8.9"}
    (tmp_path / "plans").write_text("a file where the volume should be")
    assert len(ensure(SITE, 64, tmp_path / "plans", **once)) > 1_000_000
    assert said[-1].startswith("router_64: the plan can't be kept, it will be built again")
    assert "Not a directory" in said[-1]
    folder = tmp_path / "good" / SITE.key().folder
    folder.mkdir(parents=True)
    (folder / "router_64.plan").write_bytes(b"half a file of another server, not described yet")
    raw = ensure(SITE, 64, tmp_path / "good", **once)
    assert (folder / "router_64.plan").read_bytes() == raw
    assert sorted(file.name for file in folder.iterdir()) == ["router_64.json", "router_64.plan"]


@needs_builder
def test_a_plan_that_disagrees_with_fp32_is_not_kept(tmp_path):
    def broken(site, raw, bucket):
        right = graph(BUNDLE.file(HALF), BUNDLE.version)
        return lambda rows: right(rows)[::-1]

    with pytest.raises(PlanError, match=r"the plan is refused: it decides as the reference on"):
        ensure(SITE, 64, tmp_path, say=print, judge=broken, compute="8.9")
    assert list(tmp_path.rglob("*.plan")) == []


def test_plans_are_judged_on_real_prompts_that_fit_the_bucket():
    tokens = Tokens(BUNDLE.tokenizer)
    for bucket in SERVED.buckets:
        rows = rows_for(bucket, tokens)
        assert len(rows) >= 150
        assert max(map(len, rows)) <= bucket
    assert agree(BUNDLE, 64, graph(BUNDLE.file(HALF), ""))["same_decision"] >= 0.99


def test_corrupt_files_of_the_encoder_are_named(tmp_path):
    for file in BUNDLE.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / HALF).write_bytes(b"nothing")
    with pytest.raises(EncoderError, match="is corrupt or belongs to another encoder"):
        Bundle.load(tmp_path).file(HALF)


def test_without_a_gpu_the_command_says_so_and_fails(tmp_path, capsys):
    if gpu() is not None:
        pytest.skip("this machine has a GPU")
    assert main(["--repository", str(tmp_path), "--cache", str(tmp_path)]) == 1
    assert f"there is no GPU here that CUDA can use ({lacking()})" in capsys.readouterr().err


# -- ids of any value -------------------------------------------------------------------


def test_a_plans_graph_reads_ids_out_of_the_vocabulary_as_unknown():
    """The same graph on the CPU, which would refuse them: a GPU would not even do that."""
    pytest.importorskip("onnx", reason="onnx is not installed: the extra `engines`")
    wild = np.array([5, -1, BUNDLE.vocabulary, 2**31 - 1, -(2**31), 9], np.int32)
    tame = np.array([5, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 9], np.int32)
    half = BUNDLE.file(HALF)
    run = graph(guarded(half, BUNDLE.vocabulary), BUNDLE.version)
    assert run([wild]) == run([tame]) == graph(half, BUNDLE.version)([tame])
    with pytest.raises(Exception, match="out of data bounds"):
        graph(half, BUNDLE.version)([wild])


@pytest.mark.parametrize(
    ("raw", "said"), [(b"", "takes nothing, not input_ids alone"), (b"no graph", "can't be read")]
)
def test_what_is_no_graph_of_ids_is_not_guarded(raw, said):
    pytest.importorskip("onnx", reason="onnx is not installed: the extra `engines`")
    with pytest.raises(PlanError, match=said):
        guarded(raw, BUNDLE.vocabulary)


# -- where CUDA is ----------------------------------------------------------------------


def test_cudas_library_is_found_in_a_python_package_too(tmp_path, monkeypatch):
    """A machine with a driver and torch's own CUDA has it nowhere else."""
    library = tmp_path / "nvidia" / "cu13" / "lib" / "libcudart.so.13"
    library.parent.mkdir(parents=True)
    library.touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert str(library) in list(cuda._libraries())


def test_why_there_is_no_gpu_is_said(monkeypatch):
    assert (cuda.lacking() == "") == (gpu() is not None)
    monkeypatch.setattr(cuda, "_libraries", lambda: iter(["/no/such/library.so"]))
    assert cuda.lacking() == "CUDA's runtime library, libcudart, is not installed"
    assert gpu() is None


def runtime(folder, *cards):
    """A library with the four calls of CUDA's that tell which GPUs there are: name, then "9.0"."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler: apt-get install gcc")
    names = ", ".join(f'"{name}"' for name, _ in cards)
    numbers = ", ".join(compute.replace(".", ", ") for _, compute in cards)
    source = f"""
#include <string.h>
static const char *names[] = {{{names}}};
static const int computes[] = {{{numbers}}};
int cudaGetDeviceCount(int *count) {{ *count = {len(cards)}; return 0; }}
int cudaGetDeviceProperties(char *into, int at) {{ strcpy(into, names[at]); return 0; }}
int cudaDeviceGetAttribute(int *into, int what, int at) {{
    *into = computes[2 * at + what - 75];
    return what == 75 || what == 76 ? 0 : 1;
}}
const char *cudaGetErrorString(int code) {{ return code ? "an error" : "no error"; }}
"""
    library = folder / "libcudart.so"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=source, text=True, check=True)
    return str(library)


def test_a_plan_is_built_on_the_first_gpu_of_those_that_are_alike(tmp_path, monkeypatch):
    library = runtime(tmp_path, ("NVIDIA L4", "8.9"), ("NVIDIA L4", "8.9"))
    monkeypatch.setattr(cuda, "_libraries", lambda: iter([library]))
    assert cuda.lacking() == ""
    assert cuda.gpus() == (L4, L4)
    if FOUND.module is not None:
        assert here(BUNDLE).gpu == L4


def test_gpus_of_several_kinds_are_refused_with_a_sentence(tmp_path, monkeypatch, capsys):
    library = runtime(tmp_path, ("NVIDIA H100 80GB HBM3", "9.0"), ("NVIDIA L4", "8.9"))
    monkeypatch.setattr(cuda, "_libraries", lambda: iter([library]))
    assert main(["--repository", str(tmp_path), "--cache", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("the GPUs here are of several kinds (NVIDIA H100 80GB HBM3, NVIDIA L4)")
    assert "CUDA_VISIBLE_DEVICES" in said


@pytest.mark.skipif(gpu() is None, reason="this machine has no GPU")
def test_on_a_gpu_every_plan_agrees_with_fp32(tmp_path):
    site = here(BUNDLE)
    for bucket in site.served.buckets:
        assert ensure(site, bucket, tmp_path)
