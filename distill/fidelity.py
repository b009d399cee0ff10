"""int8 and fp16 against fp32: on how many test prompts are they on the same side of a threshold?

The rank and the threshold are those of ``robustness.py``. Every graph runs one prompt at a
time, as the product's batch of one does; fp16 runs on the CPU, which rounds like a GPU but
adds up in another order.

    python -m distill.fidelity [--bundle DIR] [--limit N] [--to FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime as ort

from distill.common import SEED
from distill.robustness import SHARE, STRONG, WEAK
from distill.rows import load, windows
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import INPUT, pad
from sidecar.offline.session import Session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="a bundle's folder; the packaged one")
    parser.add_argument("--limit", type=int, default=1500)
    parser.add_argument("--to", type=Path, help="write the figures here too")
    args = parser.parse_args()
    session, bundle = Session(bundle=args.bundle), Bundle.load(args.bundle)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    graphs = {
        precision: ort.InferenceSession(
            bundle.file(f"model.{precision}.onnx"), options, providers=["CPUExecutionProvider"]
        )
        for precision in ("fp32", "fp16", "int8")
    }
    table = load("test")
    order = np.random.default_rng(SEED).permutation(len(table))[: args.limit]
    ids = session.encoder.tokens.encode(windows([table.prompts[i] for i in order]))
    names = [session.catalogue.resolve(WEAK), session.catalogue.resolve(STRONG)]
    rank = {}
    for precision, graph in graphs.items():
        demands = [graph.run(["demand"], {INPUT: pad([one])})[0][0] for one in ids]
        p = session.catalogue.matrix(np.array(demands, float), names)
        rank[precision] = p[:, 1] - p[:, 0]
    threshold = float(np.quantile(rank["fp32"], 1 - SHARE))
    strong = {precision: values >= threshold for precision, values in rank.items()}
    found: dict[str, float | str] = {"encoder": bundle.version, "prompts": len(order)}
    for precision in ("int8", "fp16"):
        same = strong[precision] == strong["fp32"]
        found[f"{precision}_same_side"] = round(float(same.mean()), 4)
        gap = np.abs(rank[precision] - rank["fp32"])
        found[f"{precision}_mean_gap_difference"] = round(float(gap.mean()), 5)
    print(json.dumps(found))
    if args.to:
        args.to.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
