"""How well a weak and a strong model are told apart, beside what costs nothing to know.

Pure: arrays in, numbers out. The router's rank is ``P(strong) - P(weak)`` where the
catalogue knows both models, the encoder's ``difficulty`` where it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sidecar.offline.metrics import Curve, auc, curve, ece, reliability

Array = NDArray[np.float64]
POINTS: Final = 21  # of the printed curve


@dataclass(frozen=True, slots=True)
class Judged:
    """Two models' scores on the same rows and what the router said of them."""

    weak: Array
    strong: Array
    rank: Array  # higher where the strong model is worth its price
    weak_probability: Array | None = None  # of sufficing; None where the model is unknown
    strong_probability: Array | None = None


def evaluate(judged: Judged) -> dict[str, Any]:
    """Every figure of ``sidecar eval``; what is not defined on these rows is None."""
    weak, strong = judged.weak, judged.strong
    right = weak >= 0.5
    needs = ~right & (strong >= 0.5)
    said = judged.weak_probability
    oracle = strong - weak
    found: dict[str, Any] = {
        "rows": len(weak),
        "weak_mean": float(weak.mean()),
        "strong_mean": float(strong.mean()),
        "needs_strong": float(needs.mean()),
        "auc": auc(right, -judged.rank if said is None else said),
        "auc_needs_strong": auc(needs, judged.rank),
        "ece": None if said is None else ece(said, weak),
        "ece_strong": None
        if judged.strong_probability is None
        else ece(judged.strong_probability, strong),
        "reliability": None
        if said is None
        else [
            {"share": share, "probability": p, "outcome": was}
            for share, p, was in reliability(said, weak)
        ],
    }
    router = curve(weak, strong, judged.rank)
    found |= summary(router)
    found["curve"] = [
        {"strong_share": float(c), "quality": float(np.interp(c, router.share, router.quality))}
        for c in np.linspace(0, 1, POINTS)
    ]
    best = curve(weak, strong, oracle)
    found["baselines"] = {
        "random": {
            "apgr": 0.5,
            "cpt50": 0.5,
            "cpt80": 0.8,
            "quality": float((weak.mean() + strong.mean()) / 2),
        },
        "always_weak": {"quality": float(weak.mean()), "strong_share": 0.0},
        "always_strong": {"quality": float(strong.mean()), "strong_share": 1.0},
        "oracle": summary(best)
        | {
            "quality": float(np.maximum(weak, strong).mean()),
            "strong_share": float((oracle > 0).mean()),
        },
    }
    return found


def summary(found: Curve) -> dict[str, float | None]:
    """APGR, CPT50 and CPT80 of one curve."""
    return {"apgr": found.apgr, "cpt50": found.cpt(0.5), "cpt80": found.cpt(0.8)}


def plot(judged: Judged, title: str) -> Any:
    """A figure: the cost-quality curve beside random and the oracle, and the reliability.

    Needs matplotlib (the extra ``plot``); the caller imports it and saves the figure.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for label, rank in (("router", judged.rank), ("oracle", judged.strong - judged.weak)):
        line = curve(judged.weak, judged.strong, rank)
        left.plot(line.share * 100, line.quality, label=label)
    ends = [judged.weak.mean(), judged.strong.mean()]
    left.plot([0, 100], ends, "--", color="grey", label="random")
    left.set(xlabel="calls to the strong model, %", ylabel="mean score", title=title)
    left.legend()
    right.plot([0, 1], [0, 1], "--", color="grey")
    for label, said, was in (
        ("weak", judged.weak_probability, judged.weak),
        ("strong", judged.strong_probability, judged.strong),
    ):
        if said is not None:
            bins = reliability(said, was)
            right.plot([p for _, p, _ in bins], [o for _, _, o in bins], "o-", label=label)
    right.set(xlabel="probability said", ylabel="share that sufficed", title="calibration")
    if right.get_legend_handles_labels()[0]:
        right.legend()
    return figure
