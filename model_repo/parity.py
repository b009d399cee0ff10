"""Do two ways to run one encoder decide alike? Compared over rows of ids, as numbers.

A runner is a function of a list of rows (ids) to :class:`~sidecar.types.Reading` each.
Compared are what an app could notice: the model that the default policy would choose
among a small, a middle and a large one, the probabilities that each of them suffices, those
of every task, domain and tier, and which of these it would name. The same comparison judges a
TensorRT plan on its GPU after the build, and every precision in ``bench/parity.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from sidecar.encoder.abilities import Catalogue
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import INPUT, OUTPUTS, pad, readings
from sidecar.encoder.tokens import Ids
from sidecar.types import Reading

Runner = Callable[[Sequence[Ids]], list[Reading]]
PANEL: Final = ("llama-3.1-8b-instruct", "llama-3.1-70b-instruct", "gpt-4o-2024-08-06")
KEPT: Final = 0.97  # of the best one's chance; the default of `routes.NAME.quality`


@dataclass(frozen=True, slots=True)
class Parity:
    """How far ``found`` is from ``wanted``, over ``rows`` rows."""

    rows: int
    same_decision: float  # share of rows on which the same model is chosen
    same_task: float  # and on which the same label is the likeliest
    same_domain: float
    same_tier: float
    suffices_max: float  # the largest difference of a P(suffices)
    difficulty_max: float
    label_p97: float  # of a row's largest difference of a task, domain or tier, 97th percentile
    label_p99: float
    label_max: float

    def faults(self, same: float, within: float, worst: float | None = None) -> list[str]:
        """Sentences where less than ``same`` agree, or a probability is not ``within``.

        With ``worst``, labels keep ``within`` on 97 % of the rows, and ``worst`` on all.
        """
        wrong = []
        if self.same_decision < same:
            share = f"{self.same_decision:.2%}"
            wrong.append(f"it decides as the reference on {share} of {self.rows} prompts only")
        for label in ("task", "domain", "tier"):
            if (alike := getattr(self, f"same_{label}")) < same:
                wrong.append(f"it sees the same {label} in {alike:.2%} of {self.rows} only")
        bounds = [
            ("a model's chance differs", self.suffices_max, within),
            ("difficulty differs", self.difficulty_max, within),
            ("a label's probability differs", self.label_max, within if worst is None else worst),
        ]
        if worst is not None:
            often = "a label's probability differs, in more than 3% of them,"
            bounds.append((often, self.label_p97, within))
        return wrong + [
            f"{what} by {by:.3f}, over {most}" for what, by, most in bounds if by > most
        ]

    def as_dict(self) -> dict[str, float]:
        return {key: round(value, 5) for key, value in asdict(self).items()}


def graph(raw: bytes, version: str) -> Runner:
    """A runner over an ONNX graph, one row at a time, on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"])

    def run(rows: Sequence[Ids]) -> list[Reading]:
        return [one for row in rows for one in answer(session, row)]

    def answer(session: Any, row: Ids) -> list[Reading]:
        values = session.run(list(OUTPUTS), {INPUT: pad([row])})
        return readings(dict(zip(OUTPUTS, values, strict=True)), version)

    return run


def compare(wanted: Sequence[Reading], found: Sequence[Reading], bundle: Bundle) -> Parity:
    """Row by row. Raises ValueError where there are not as many, or none."""
    if len(wanted) != len(found) or not wanted:
        raise ValueError(f"{len(found)} readings for {len(wanted)} rows")
    catalogue = Catalogue.of(bundle)
    names = [n for n in PANEL if catalogue.resolve(n)]

    def chances(of: Sequence[Reading]) -> np.ndarray:
        demands = np.array([reading.demand for reading in of], float)
        return catalogue.matrix(demands, names)

    def labels(of: Sequence[Reading]) -> np.ndarray:
        return np.array([r.task_probs + r.domain_probs + r.tier_probs for r in of])

    def same(label: str) -> float:
        pairs = zip(wanted, found, strict=True)
        return float(np.mean([getattr(a, label) == getattr(b, label) for a, b in pairs]))

    one, other = chances(wanted), chances(found)
    hard, found_hard = (np.array([r.difficulty for r in of]) for of in (wanted, found))
    apart = np.abs(labels(wanted) - labels(found)).max(1)
    return Parity(
        rows=len(wanted),
        same_decision=float(np.mean(_cheapest(one) == _cheapest(other))),
        same_task=same("task"),
        same_domain=same("domain"),
        same_tier=same("tier"),
        suffices_max=float(np.abs(one - other).max()),
        difficulty_max=float(np.abs(hard - found_hard).max()),
        label_p97=float(np.quantile(apart, 0.97)),
        label_p99=float(np.quantile(apart, 0.99)),
        label_max=float(apart.max()),
    )


def _cheapest(chances: np.ndarray) -> np.ndarray:
    """The first column, cheapest first, that keeps :data:`KEPT` of the row's best chance."""
    return (chances >= KEPT * chances.max(1, keepdims=True)).argmax(1)
