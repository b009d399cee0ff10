"""The packed encoder against the training's own network, and against the shipped bundle."""
# ruff: noqa: E402

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="kernels need torch: the extra `kernels`")
pytest.importorskip("triton", reason="kernels need triton: the extra `kernels`")
pytest.importorskip("safetensors", reason="distill.network needs safetensors: the extra `train`")

from distill.network import Heads, Shape, Student
from kernels import encoder as packed
from kernels.encoder import Choice, PackedEncoder, choose
from kernels.ops import KernelError
from sidecar.decide.policies.base import ABSTAIN
from sidecar.encoder.abilities import Catalogue
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import OUTPUTS, OnnxEncoder, pad

INTERPRETED = Choice("kernel", "cpu", torch.float32, "interpreted")
REFERENCE = Choice("reference", "cpu", torch.float32, "asked for")
COLUMNS = [{"source": s, "model": m} for s in ("x", "y") for m in ("a", "b", "c")]
LENGTHS = [1, 2, 3, 7, 30, 31, 32, 8]


def network(**changes):
    sizes = {"vocabulary": 50, "embed": 24, "width": 24, "layers": 2, "heads": 2, "inner": 40}
    shape = Shape(**{**sizes, "positions": 32, "demand": 6, **changes})
    student, heads = Student(shape).eval(), Heads(shape.width, shape.demand, COLUMNS).eval()
    with torch.no_grad():
        for parameter in (*student.parameters(), *heads.parameters()):
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return student, heads


def rows(lengths=LENGTHS):
    generator = np.random.default_rng(4)
    return [generator.integers(1, 50, n).astype(np.int32) for n in lengths]


def trained(student, heads, ids):
    """What training and export call the answers, one padded batch."""
    with torch.no_grad():
        out = heads(student(torch.from_numpy(pad(ids))))
        suffices = heads.serving(out["demand"]).sigmoid()
    for name in ("task", "domain", "tier"):
        out[name] = out[name].softmax(-1)
    for name in ("difficulty", "ood"):
        out[name] = out[name].sigmoid()
    return {**out, "suffices": suffices}


def of(student, heads, choice):
    slope, shift = heads.slopes(), heads.easiness
    return PackedEncoder.of_modules(student, heads, slope, shift, choice)


def largest_gap(found, wanted):
    assert set(found) == set(wanted)
    return max((found[n].float() - wanted[n]).abs().max().item() for n in wanted)


@pytest.mark.parametrize("choice", [INTERPRETED, REFERENCE], ids=lambda c: c.backend)
@pytest.mark.parametrize(
    "changes",
    [{}, {"activation": "gelu"}, {"stride": 1}, {"embed": 20, "heads": 3, "stride": 4}],
    ids=str,
)
def test_packed_encoder_equals_the_trained_network(changes, choice):
    student, heads = network(**changes)
    ids = rows()
    assert largest_gap(of(student, heads, choice).read(ids), trained(student, heads, ids)) < 5e-5


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_half_precision_stays_near_the_trained_network(backend):
    student, heads = network()
    half = of(student, heads, Choice(backend, "cpu", torch.float16, "asked for"))
    ids = rows()
    found, wanted = half.read(ids), trained(student, heads, ids)
    del found["demand"], wanted["demand"]  # unbounded; the others are probabilities
    assert largest_gap(found, wanted) < 0.02


def test_a_row_answers_the_same_alone_and_in_any_batch():
    student, heads = network()
    encoder = of(student, heads, INTERPRETED)
    ids = rows([5, 12, 1])
    together = encoder.read(ids)
    for i, one in enumerate(ids):
        for name, value in encoder.read([one]).items():
            torch.testing.assert_close(value[0], together[name][i], atol=2e-6, rtol=1e-5)


def test_no_rows_and_empty_rows_are_answered():
    student, heads = network()
    encoder = of(student, heads, INTERPRETED)
    assert encoder.read([])["task"].shape == (0, 17)
    answers = encoder.read([[], [3, 4], []])
    assert answers["task"].shape == (3, 17)
    assert all(value.isfinite().all() for value in answers.values())


def test_a_row_longer_than_the_positions_is_refused():
    encoder = of(*network(), REFERENCE)
    with pytest.raises(KernelError, match="33 ids, the encoder has 32 positions"):
        encoder.read([[1] * 33])


def test_missing_weights_are_named():
    student, heads = network()
    state = student.state_dict() | {f"heads.{k}": v for k, v in heads.state_dict().items()}
    del state["blocks.1.up.bias"]
    with pytest.raises(KernelError, match=r"lack blocks\.1\.up\.bias"):
        PackedEncoder(state, student.shape.as_dict(), heads.slopes(), heads.easiness, REFERENCE)


def test_the_choice_says_why(monkeypatch):
    assert choose("reference").reason == "reference: asked for"
    assert choose("kernel").reason.startswith("kernels in Triton's interpreter")
    assert choose().reason == "reference: TRITON_INTERPRET is set, which is for tests"
    monkeypatch.setattr(packed, "INTERPRETED", False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose().reason == "reference: no CUDA device"
    with pytest.raises(KernelError, match="can't run: no CUDA device"):
        choose("kernel")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert "compute capability 7.5" in choose().reason
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert choose() == Choice("kernel", "cuda", torch.float16, "kernels: CUDA device a GPU")
    monkeypatch.setattr(packed, "MISSING", "Triton's language is not installed (no)")
    assert choose().reason == "reference: Triton's language is not installed (no)"


def test_without_triton_the_references_still_answer():
    """A process of its own: the module is chosen when it is first imported."""
    program = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch\n"
        "from kernels.encoder import PackedEncoder, choose\n"
        "from sidecar.encoder.bundle import Bundle\n"
        "encoder = PackedEncoder.of_bundle(Bundle.load(), [])\n"
        "assert encoder.read([[5, 6, 7]])['tier'].shape == (1, 3)\n"
        "print(encoder.choice.reason)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("reference: Triton's language is not installed"), done.stderr


def test_the_shipped_bundle_answers_the_same_packed():
    """From the bundle's own int8 weights; ONNX Runtime rounds the activations too."""
    pytest.importorskip("onnx", reason="weights are read from the bundle with onnx")
    bundle = Bundle.load()
    names = Catalogue.of(bundle).names
    encoder = PackedEncoder.of_bundle(bundle, names, INTERPRETED)
    theirs = OnnxEncoder(bundle)
    windows = ["What is 2 + 2?", "x", "Prove that every bounded sequence of reals converges. " * 3]
    ids = theirs.tokens.encode(windows)
    found, wanted = encoder.read(ids), theirs.read_ids(ids)
    fields = {"task": "task_probs", "domain": "domain_probs", "tier": "tier_probs"}
    for i, reading in enumerate(wanted):
        for name in set(OUTPUTS) - {"demand"}:
            other = torch.tensor(getattr(reading, fields.get(name, name)))
            # int8 activations move the ood of one letter by .2: what it decides is its side
            room = 0.25 if name == "ood" else 0.05
            assert (found[name][i] - other).abs().max() < room, name
            assert name != "ood" or (found[name][i] > ABSTAIN) == (other > ABSTAIN)
        other = torch.tensor(Catalogue.of(bundle).probabilities(reading, names))
        assert (found["suffices"][i] - other).abs().max() < 0.05


def test_an_unknown_ability_is_named():
    with pytest.raises(KernelError, match="no ability of nobody"):
        PackedEncoder.of_bundle(Bundle.load(), ["nobody"], REFERENCE)
