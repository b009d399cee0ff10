"""int8 against fp32: on how many test prompts do they fall on the same side of a threshold?

The rank and the threshold are those of ``robustness.py``. Both graphs run one prompt at a
time, as the product's batch of one does.

    python -m distill.fidelity --name RUN [--limit N]
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import onnxruntime as ort

from distill.common import SEED, work_dir
from distill.robustness import SHARE, STRONG, WEAK
from distill.rows import load, windows
from sidecar.encoder.model import INPUT, pad
from sidecar.offline.session import Session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="settled", help="the run whose fp32 graph to compare")
    parser.add_argument("--limit", type=int, default=1500)
    args = parser.parse_args()
    session = Session()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    file = work_dir() / args.name / "model.fp32.onnx"
    full = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    table = load("test")
    order = np.random.default_rng(SEED).permutation(len(table))[: args.limit]
    ids = session.encoder.tokens.encode(windows([table.prompts[i] for i in order]))
    demands = [
        (session.encoder.read_ids([one])[0].demand, full.run(["demand"], {INPUT: pad([one])})[0][0])
        for one in ids
    ]
    names = [session.catalogue.resolve(WEAK), session.catalogue.resolve(STRONG)]
    gaps = []
    for side in range(2):
        p = session.catalogue.matrix(np.array([d[side] for d in demands], float), names)
        gaps.append(p[:, 1] - p[:, 0])
    small, exact = gaps
    threshold = float(np.quantile(exact, 1 - SHARE))
    found = {
        "prompts": len(order),
        "same_side": round(float(((small >= threshold) == (exact >= threshold)).mean()), 4),
        "mean_gap_difference": round(float(np.abs(small - exact).mean()), 4),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
