"""Stage 7, export: ONNX fp32 and int8, the tokenizer, abilities and a manifest of hashes.

The graph takes int32 ids [batch, length] (0 = padding, length a multiple of the
student's stride) and answers probabilities and the demand vector. int8 is ONNX
Runtime's dynamic quantisation of the matrix products and the token table, seven bits
a weight: the AVX2 kernels add pairs of products in 16 bits, which eight overflow.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from distill.common import ROOT, say, work_dir
from distill.network import Heads, Student
from distill.student import restore
from sidecar.encoder.model import OUTPUTS
from sidecar.encoder.tokens import MAX_TOKENS, PAD, UNKNOWN
from sidecar.features import MARKERS
from sidecar.types import DOMAINS, TASKS, TIERS

FILES = ROOT / "sidecar" / "encoder" / "files"


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
        out = self.heads(self.student(ids))
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


def fp32(served: Served, file: Path) -> None:
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


def int8(served: Served, scratch: Path, file: Path) -> None:
    """The CPU's graph: attention as ONNX Runtime's fused op, then seven-bit weights."""
    for block in served.student.blocks:
        block.fused = True
    fp32(served, scratch)
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


def write_manifest(folder: Path, student: Student, demand: int) -> str:
    digests = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
        if file.name not in ("manifest.json", "MODEL_CARD.md")
    }
    version = hashlib.sha256("".join(digests.values()).encode()).hexdigest()[:12]
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
    fp32(served, folder / "model.fp32.onnx")
    int8(served, folder / "model.fused.onnx", args.to / "model.int8.onnx")
    ids = np.random.default_rng(0).integers(1, student.shape.vocabulary, (4, 64)).astype(np.int32)
    ids[1:, 40:] = 0
    with torch.no_grad():
        wanted = served(torch.from_numpy(ids))
    full, small = run(folder / "model.fp32.onnx", ids), run(args.to / "model.int8.onnx", ids)
    for name, want in zip(OUTPUTS, wanted, strict=True):
        gap = float(np.abs(full[name] - want.numpy()).max())
        say(
            f"{name}: fp32 differs from torch by {gap:.1e}, "
            f"int8 from fp32 by {np.abs(small[name] - full[name]).max():.3f}"
        )
        assert gap < 1e-3, f"the exported {name} is not the trained one"
    (args.to / "tokenizer.json").write_bytes((work_dir() / "tokenizer.json").read_bytes())
    (args.to / "abilities.json").write_bytes((folder / "abilities.json").read_bytes())
    version = write_manifest(args.to, student, student.shape.demand)
    total = sum(f.stat().st_size for f in args.to.iterdir())
    say(f"exported encoder {version}: {total / 1e6:.1f} MB in {args.to}")


if __name__ == "__main__":
    main()
