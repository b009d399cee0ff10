"""Where open prompts stand on the scale of the scored ones: an assumption, written down.

Only exam questions were scored. Without a tie, the encoder would call every greeting
and every essay as hard as an average exam question, and every model as likely to
suffice on it. So each open prompt is given the chance that an instruct model of about
eight billion weights fails, from its tier where it has one and else from its source, and
the other models follow by their Rasch ability (:func:`distill.rows.rasch`). The numbers
are judgements, not measurements. ``sidecar fit`` overrules them.

Short questions with few possible answers get no place unless a program wrote them:
sentiment is easy and a logic puzzle is not, and they look alike. Calling them all easy
cost .05 APGR on a suite of such puzzles that never trained (LOG.md, sections 5 and 9).
"""

from __future__ import annotations

import math

TIER = (0.005, 0.25, 0.65)  # simple, moderate, complex
TIER_OF = {  # sources whose tiers mean something else
    "synthetic": (0.004, 0.15, 0.78),
    "ordinary": (0.005, 0.15, 0.72),
    "agieval_math": (0.13, 0.4, 0.72),
    "followbench": (0.03, 0.2, 0.4),
    "ifeval": (0.1, 0.25, 0.4),
    "prompttensor": (0.01, 0.03, 0.2),
    "writingbench": (0.3, 0.3, 0.4),
}
SOURCE = {
    "dolly": 0.012,
    "template_translation": 0.01,
    "template_rewrite": 0.008,
    "instruction_induction": 0.006,
    "self_instruct_seed": 0.02,
    "mtbench101": 0.12,
    "medquad": 0.2,
    "pubmedqa": 0.3,
    "legalbench": 0.25,
    "tatqa": 0.35,
    "sql_eval": 0.35,
    "nl2bash": 0.2,
    "mbpp": 0.3,
    "mbxp": 0.3,
    "humaneval": 0.3,
    "gsm8k_train": 0.16,
    "agieval_aqua-rat": 0.45,
    "agieval_sat-math": 0.3,
    "agieval_math": 0.5,
    "biggen": 0.3,
}


WRITTEN = ("synthetic", "ordinary")  # by programs here, each frame with a tier of its own
UNPLACED = ("classification", "reasoning")  # tasks
UNPLACED_SOURCES = ("p3_t0",)  # benchmarks of such questions under one template each


def place(source: str, tier: int, task: str | None = None) -> float:
    """The chance that a small instruct model fails on a prompt of this source and tier; or NaN."""
    if source not in WRITTEN and (task in UNPLACED or source in UNPLACED_SOURCES):
        return math.nan
    if tier >= 0:
        return TIER_OF.get(source, TIER)[tier]
    return SOURCE.get(source, math.nan)
