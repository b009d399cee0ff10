"""Stage 4, distil: the student learns from the teacher's logits beside the labels.

The teacher read the clean text; the student reads an augmented one and is asked for
the same answer, so what augmentation changes is what it learns to ignore. Column
logits of all (source, model) pairs are the richest signal: a row was scored by at
most 45 models, the teacher has an opinion on all of them.
"""

from __future__ import annotations

import numpy as np

from distill.common import work_dir
from distill.loop import Soft
from distill.student import arguments, run
from distill.teacher import PARTS


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(name="distilled")
    parser.add_argument("--teacher", action="append", default=[], help="average these runs")
    args = parser.parse_args()
    loaded = [np.load(work_dir() / t / "soft.npz") for t in args.teacher or ["teacher"]]
    mean = {
        part: np.mean([one[part].astype(np.float32) for one in loaded], 0).astype(np.float16)
        for part in PARTS
        if part != "pooled"
    }
    mean["pooled"] = np.concatenate([one["pooled"] for one in loaded], 1)
    run(args, lambda table: fitted_to(Soft(**mean), len(table)))


def fitted_to(soft: Soft, rows: int) -> Soft:
    """``soft`` with NaN rows for what was added to the table after the teacher had spoken."""

    def longer(values: np.ndarray) -> np.ndarray:
        room = np.full((rows - len(values), *values.shape[1:]), np.nan, np.float16)
        return np.concatenate([values, room])

    return Soft(**{part: longer(getattr(soft, part)) for part in PARTS})


if __name__ == "__main__":
    main()
