"""The same answers everywhere: one set of real prompts through every way to run the encoder.

    python -m bench.parity [--prompts 500] [--triton HOST:PORT]

Torch (the kernels' plain references, padding-free, over the fp32 graph's weights), ONNX in
fp32, fp16 and int8, and with ``--triton`` a server. Each is compared with ONNX fp32;
torch's weights are that graph's. Prompts are read from DATA_DIR (``../shared/data``), a
fixed sample over all sources. The result goes to the results file.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench import ground
from model_repo.parity import PANEL, Parity, Runner, compare, graph
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import OnnxEncoder, readings
from sidecar.encoder.tokens import Ids, Tokens
from sidecar.features import features_of
from sidecar.types import Prompt, Reading

SEED = 7
# the share of equal decisions and labels, and the bound on probabilities, that each must keep;
# int8's labels keep theirs on 97 % of the prompts, and the third on all
STRICT = (0.99, 0.02)
INT8 = (0.97, 0.05, 0.15)
PROMISED = {"onnx int8": INT8, "triton": INT8}


def data_file() -> Path | None:
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    file = Path(os.environ.get("DATA_DIR", folder)) / "prompts.jsonl.gz"
    return file if file.is_file() else None


def prompts(file: Path, count: int) -> list[str]:
    """A fixed sample of the prompts in ``file``, of every length."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        texts = sorted({json.loads(line)["prompt"] for line in lines})
    return random.Random(SEED).sample(texts, min(count, len(texts)))


def torch_reference(bundle: Bundle) -> Runner:
    """The padding-free encoder on plain torch, over the fp32 graph's weights."""
    from kernels.encoder import PackedEncoder, choose  # noqa: PLC0415 - needs torch

    encoder = PackedEncoder.of_bundle(bundle, PANEL, choose("reference"), "model.fp32.onnx")

    def run(rows: Sequence[Ids]) -> list[Reading]:
        out = []
        for row in rows:
            found = {k: v.numpy() for k, v in encoder.read([row]).items()}
            out += readings(found, bundle.version)
        return out

    return run


def runners(bundle: Bundle, url: str | None) -> Iterator[tuple[str, Runner]]:
    yield "torch", torch_reference(bundle)
    yield "onnx fp16", graph(bundle.file("model.fp16.onnx"), bundle.version)
    encoder = OnnxEncoder(bundle)
    yield "onnx int8", lambda rows: [r for row in rows for r in encoder.read_ids([row])]
    if url:
        from sidecar.classify.triton_reader import TritonEncoder  # noqa: PLC0415 - `gpu`

        with closing(TritonEncoder(bundle, url)) as remote:
            yield "triton", remote.read_ids


def measure(texts: Sequence[str], url: str | None) -> dict[str, Parity]:
    bundle = Bundle.load()
    windows = [features_of(Prompt(user=text)).window for text in texts]
    rows = Tokens(bundle.tokenizer).encode(windows)
    wanted = graph(bundle.file("model.fp32.onnx"), bundle.version)(rows)
    found = {}
    for name, run in track(runners(bundle, url), "Reading ...", total=4, transient=True):
        found[name] = compare(wanted, run(rows), bundle)
    return found


def faults(found: dict[str, Parity]) -> list[str]:
    """What each way promised and did not keep, a sentence each."""
    return [
        f"{name}: {fault}"
        for name, parity in found.items()
        for fault in parity.faults(*PROMISED.get(name, STRICT))
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--triton", metavar="HOST:PORT", help="a server to compare too")
    args = parser.parse_args()
    file = data_file()
    if file is None:
        print("There is no prompts.jsonl.gz: set DATA_DIR to its folder.", file=sys.stderr)
        return 2
    found = measure(prompts(file, args.prompts), args.triton)
    table = Table(title="against ONNX fp32", box=None)
    titles = ("same decision", "task", "domain", "tier", "P(suffices) differs by", "difficulty")
    for title in ("", *titles, "labels, p97", "p99", "most"):
        table.add_column(title, justify="right" if title else "left")
    for name, p in found.items():
        table.add_row(
            name,
            *(f"{n:.2%}" for n in (p.same_decision, p.same_task, p.same_domain, p.same_tier)),
            *(f"{n:.4f}" for n in (p.suffices_max, p.difficulty_max)),
            *(f"{n:.4f}" for n in (p.label_p97, p.label_p99, p.label_max)),
        )
    Console().print(table)
    ground.record(
        "parity",
        {name: parity.as_dict() for name, parity in found.items()}
        | {"encoder": Bundle.load().version},
    )
    wrong = faults(found)
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
