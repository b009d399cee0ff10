"""Stage 7, export: ONNX in three precisions, the tokenizer, abilities, a manifest of hashes.

Every graph takes int32 ids [batch, length] (0 = padding, length a multiple of the
student's stride, both free) and answers float32 probabilities and the demand vector.

- ``model.int8.onnx``, for the CPU: ONNX Runtime's dynamic quantisation of the matrix
  products and the token table, seven bits a weight, because the AVX2 kernels add pairs
  of products in 16 bits, which eight overflow. Attention is ONNX Runtime's fused op.
- ``model.fp16.onnx``, for the GPU: plain ops, every type written out, as an engine with
  strong typing wants it. Weights and activations are halves; norms, softmax, the heads
  and what they answer are float32.
- ``model.fp32.onnx``, for the GPU and as the reference: the same plain ops in float32,
  the large weights stored as halves behind a Cast that runtimes fold at load.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from distill.common import ROOT, say, work_dir
from distill.network import Heads, Norm, Student
from distill.student import restore
from sidecar.encoder.bundle import REQUIRED
from sidecar.encoder.model import OUTPUTS
from sidecar.encoder.tokens import MAX_TOKENS, PAD, UNKNOWN
from sidecar.features import MARKERS
from sidecar.types import DOMAINS, TASKS, TIERS

FILES = ROOT / "sidecar" / "encoder" / "files"
SMALL = 4096  # numbers in a weight that is stored as it is
TOLERANCE = {"fp32": 2e-3, "fp16": 2e-2, "int8": 1.5}  # largest difference of any output


class Served(nn.Module):
    """The student and its heads as the product calls them.

    ``ood`` is the head's opinion around its midpoint, or a text of which more than about
    a third of the tokens are ``foreign`` [vocabulary]: unknown, or of another script.
    """

    def __init__(self, student: Student, heads: Heads, midpoint: float, foreign: Tensor) -> None:
        super().__init__()
        self.student, self.heads, self.midpoint = student, heads, midpoint
        self.register_buffer("foreign", foreign)

    def forward(self, ids: Tensor) -> tuple[Tensor, ...]:
        pooled = self.student(ids)
        out = self.heads(pooled if pooled.dtype == torch.float32 else pooled.float())
        unknown = self.foreign[ids].sum(1) / (ids != PAD).float().sum(1).clamp(min=1.0)
        familiar = (self.midpoint - out["ood"]).sigmoid() * ((0.35 - unknown) * 25.0).sigmoid()
        return (
            out["demand"],
            out["task"].softmax(-1),
            out["domain"].softmax(-1),
            out["tier"].softmax(-1),
            out["difficulty"].sigmoid(),
            1.0 - familiar,
        )


def foreign_pieces(vocabulary: dict[str, int]) -> Tensor:
    """1 for the unknown piece and for letters beyond Latin; symbols and signs are no script."""
    out = torch.zeros(len(vocabulary))
    for piece, index in vocabulary.items():
        letters = [c for c in piece.removeprefix("##") if c.isalpha()]
        if piece not in MARKERS and any(ord(c) >= 0x250 for c in letters):
            out[index] = 1
    out[UNKNOWN] = 1
    return out


def graph(served: Served, file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            served.eval(),
            (torch.randint(1, 99, (2, 64), dtype=torch.int32),),
            str(file),
            input_names=["input_ids"],
            output_names=list(OUTPUTS),
            dynamic_axes={
                n: {0: "batch"} | ({1: "length"} if n == "input_ids" else {})
                for n in ("input_ids", *OUTPUTS)
            },
            opset_version=20,
            custom_opsets={"com.microsoft": 1},
            dynamo=False,
        )
    model = onnx.load(file)
    del model.graph.value_info[:]
    onnx.save(model, file)


def fp32(served: Served, file: Path) -> None:
    """Plain ops in float32, large weights stored as halves."""
    graph(served, file)
    model = onnx.load(file)
    casts = []
    for held in model.graph.initializer:
        if held.data_type == onnx.TensorProto.FLOAT and math.prod(held.dims) > SMALL:
            name, half = held.name, f"{held.name}.half"
            held.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(held).astype("f2"), half))
            casts.append(helper.make_node("Cast", [half], [name], to=onnx.TensorProto.FLOAT))
    for node in reversed(casts):
        model.graph.node.insert(0, node)
    onnx.checker.check_model(model)
    onnx.save(model, file)


def fp16(served: Served, file: Path) -> None:
    """Plain ops in halves, but for norms, softmax and heads."""
    halved = copy.deepcopy(served)
    halved.student.half()
    for module in halved.modules():
        if isinstance(module, Norm):
            module.float()
    graph(halved, file)


def int8(served: Served, scratch: Path, file: Path) -> None:
    """The CPU's graph: attention as ONNX Runtime's fused op, then seven-bit weights."""
    for block in served.student.blocks:
        block.fused = True
    graph(served, scratch)
    for block in served.student.blocks:
        block.fused = False
    quantize_dynamic(
        scratch,
        file,
        weight_type=QuantType.QInt8,
        reduce_range=True,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )


def run(file: Path, ids: np.ndarray) -> dict[str, np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"input_ids": ids}), strict=True))


def check(served: Served, folder: Path) -> None:
    """Every graph against the trained modules on random ids, or an AssertionError."""
    vocabulary = served.student.shape.vocabulary
    ids = np.random.default_rng(0).integers(1, vocabulary, (4, 64)).astype(np.int32)
    ids[1:, 40:] = 0
    with torch.no_grad():
        wanted = [value.numpy() for value in served(torch.from_numpy(ids))]
    for precision, allowed in TOLERANCE.items():
        found = run(folder / f"model.{precision}.onnx", ids)
        gaps = {
            name: float(np.abs(found[name] - want).max())
            for name, want in zip(OUTPUTS, wanted, strict=True)
        }
        say(f"{precision}: " + ", ".join(f"{name} off by {gap:.1e}" for name, gap in gaps.items()))
        worst = max(gaps, key=lambda name: gaps[name])
        assert gaps[worst] < allowed, f"{precision}: the exported {worst} is not the trained one"


def write_manifest(folder: Path, student: Student, demand: int) -> str:
    digests = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
        if file.name not in ("manifest.json", "MODEL_CARD.md")
    }
    identity = "".join(digests[name] for name in REQUIRED)
    version = hashlib.sha256(identity.encode()).hexdigest()[:12]
    manifest = {
        "format": 1,
        "version": version,
        "demand": demand,
        "vocabulary": student.shape.vocabulary,
        "max_tokens": MAX_TOKENS,
        "shape": student.shape.as_dict(),
        "labels": {"task": TASKS, "domain": DOMAINS, "tier": TIERS},
        "markers": [ord(m) for m in MARKERS],
        "files": digests,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="distilled", help="the run to export")
    parser.add_argument("--to", type=Path, default=FILES)
    args = parser.parse_args()
    student, heads = restore(args.name)
    folder = work_dir() / args.name
    args.to.mkdir(parents=True, exist_ok=True)
    midpoint = json.loads((folder / "ood.json").read_text())["midpoint"]
    vocabulary = json.loads((work_dir() / "tokenizer.json").read_text())["model"]["vocab"]
    served = Served(student, heads, midpoint, foreign_pieces(vocabulary)).eval()
    fp32(served, args.to / "model.fp32.onnx")
    fp16(served, args.to / "model.fp16.onnx")
    int8(served, folder / "model.fused.onnx", args.to / "model.int8.onnx")
    check(served, args.to)
    (args.to / "tokenizer.json").write_bytes((work_dir() / "tokenizer.json").read_bytes())
    (args.to / "abilities.json").write_bytes((folder / "abilities.json").read_bytes())
    version = write_manifest(args.to, student, student.shape.demand)
    total = sum(f.stat().st_size for f in args.to.iterdir())
    say(f"exported encoder {version}: {total / 1e6:.1f} MB in {args.to}")


if __name__ == "__main__":
    main()
