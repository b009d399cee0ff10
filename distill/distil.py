"""Stage 4, distil: the student learns from the ensemble's logits beside the labels.

The voices read the clean text; the student reads an augmented one and is asked for
the same answer, so what augmentation changes is what it learns to ignore. Column
logits of all (source, model) pairs are the richest signal: a row was scored by at
most 45 models, the teacher has an opinion on all of them.
"""

from __future__ import annotations

import numpy as np

from distill.loop import Soft
from distill.rows import Table
from distill.student import arguments, run
from distill.teacher import PARTS
from distill.variants import SOURCE
from distill.voices import aligned, read


def softened(table: Table, voice: str) -> Soft:
    """What a run said of the table's rows.

    Silent (NaN) about rows that were added since, and about open prompts without a place
    of their own: the voice may have heard one from an earlier placement.
    """
    said = read(voice, "soft")
    soft = Soft(**{part: aligned(table.ids, said, part) for part in PARTS})
    unplaced = np.isnan(table.difficulty) & np.isnan(table.scores).all(1)
    unplaced &= table.sources != SOURCE
    soft.columns[unplaced] = np.nan
    soft.difficulty[unplaced] = np.nan
    return soft


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(name="distilled")
    parser.add_argument(
        "--beside", type=int, default=0, help="texts near the rows, as the voice heard"
    )
    parser.add_argument("--voice", default="ensemble", help="the run whose soft labels to learn")
    args = parser.parse_args()
    run(args, lambda table: softened(table, args.voice))


if __name__ == "__main__":
    main()
