"""A calibrated stack of the others: what each of them says, weighed as scored rows taught.

For every candidate there are votes: the encoder's probability, by how much the
neighbours of the prompt (policy ``similarity``) move it, the difficulty, the tier, the
length, and how strange the text is. A logistic regression for each model, fitted by
``sidecar ensemble fit`` on rows the library has never seen and stored in a file, turns
them into one probability (stacked generalisation, Wolpert 1992); then the cheapest
within the asked quality is chosen. A model the file does not know keeps the encoder's.
"""

from __future__ import annotations

import math
from dataclasses import replace
from operator import mul

from sidecar.decide.policies.base import Choice, Situation, cheapest_within, dearest_first
from sidecar.decide.policies.similarity import estimates


def pick(situation: Situation) -> Choice:
    if situation.lost or situation.route.stack is None:
        return dearest_first(situation.candidates)
    found = situation.route.stack.weights
    candidates = []
    for candidate, vote in zip(situation.candidates, votes(situation), strict=True):
        ability = situation.models[candidate.model].ability.partition("@")[0]
        weights = found.get(ability)
        if weights is None:
            candidates.append(candidate)
            continue
        logit = weights.shift + sum(map(mul, weights.slope, vote))
        candidates.append(replace(candidate, probability=_sigmoid(logit)))
    choice = cheapest_within(situation, candidates)
    said = ", ".join(f"{c.model} {c.probability:.3f}" for c in candidates)
    return Choice(choice.order, f"{choice.why}, as stacked: {said}")


def votes(situation: Situation) -> list[tuple[float, ...]]:
    """One tuple a candidate, in the order of :data:`sidecar.stack.VOTES`."""
    reading = situation.reading
    tiers = reading.tier_probs
    shared = (
        _logit(reading.difficulty),
        tiers[2] - tiers[0] if tiers else 0.0,
        math.log(max(1, situation.call.input_tokens) / 100.0),
        reading.ood,
    )
    near, _ = estimates(situation)
    found: list[tuple[float, ...]] = []
    for candidate, chance in zip(situation.candidates, near, strict=True):
        own = _logit(candidate.probability or 0.0)
        found.append((own, _logit(chance) - own, *shared))
    return found


def _logit(p: float) -> float:
    p = min(max(p, 1e-4), 1 - 1e-4)
    return math.log(p / (1 - p))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
