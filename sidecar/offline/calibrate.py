"""The threshold on the router's rank that meets a target, over scored prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidecar.errors import DataError
from sidecar.offline.metrics import curve

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Rows whose rank is at least ``threshold`` go to the strong model."""

    threshold: float
    strong_share: float
    quality: float | None = None  # mean score, where rows were scored
    retention: float | None = None  # quality over always-strong


def for_share(rank: Array, share: float) -> Threshold:
    """The threshold that sends about ``share`` of these rows to the strong model."""
    if not 0 <= share <= 1:
        raise DataError(f"--strong-rate is a share from 0 to 1, not {share}")
    if not len(rank):
        raise DataError("no rows: there is nothing to calibrate on")
    ordered = np.sort(rank)[::-1]
    count = round(share * len(rank))
    threshold = float(np.nextafter(ordered[0], np.inf)) if count == 0 else float(ordered[count - 1])
    return Threshold(threshold, float((rank >= threshold).mean()))


def for_quality(rank: Array, weak: Array, strong: Array, quality: float) -> Threshold:
    """The fewest strong calls that keep ``quality`` times always-strong's mean score.

    Raises DataError when no share reaches it (a rank can't beat both models everywhere).
    """
    if quality <= 0:
        raise DataError(f"--quality is a positive share of the strong model's, not {quality}")
    if not len(rank):
        raise DataError("no rows: there is nothing to calibrate on")
    line = curve(weak, strong, rank)
    ordered = np.sort(rank)[::-1]
    # Rows of equal rank go together: only the last of a group of ties is a real choice.
    real = np.r_[True, np.r_[ordered[1:] != ordered[:-1], True]]
    reached = np.flatnonzero(real & (line.quality >= quality * line.strong - 1e-12))
    if not len(reached):
        raise DataError(
            f"no threshold keeps {quality:g} of the strong model's quality on these rows: "
            f"the best is {line.quality.max() / max(line.strong, 1e-12):.3f}"
        )
    count = int(reached[0])
    threshold = float(np.nextafter(ordered[0], np.inf)) if count == 0 else float(ordered[count - 1])
    return with_quality(Threshold(threshold, count / len(rank)), rank, weak, strong)


def with_quality(found: Threshold, rank: Array, weak: Array, strong: Array) -> Threshold:
    """``found`` with the mean score that it gives on scored rows."""
    routed = np.where(rank >= found.threshold, strong, weak).mean()
    best = strong.mean()
    return Threshold(
        found.threshold, found.strong_share, float(routed), float(routed / best) if best else None
    )
