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

import numpy as np
from numpy.typing import NDArray

from sidecar.decide.policies.base import Choice, Situation, cheapest_within, dearest_first
from sidecar.decide.policies.similarity import estimates
from sidecar.stack import VOTES


def pick(situation: Situation) -> Choice:
    if situation.lost or situation.route.stack is None:
        return dearest_first(situation.candidates)
    models = situation.models
    abilities = [models[candidate.model].ability for candidate in situation.candidates]
    chances = situation.route.stack.probabilities(abilities, votes(situation))
    choice = cheapest_within(situation, situation.candidates, chances)
    return Choice(choice.order, f"{choice.why}, by the stack (best {max(chances):.3f})")


def votes(situation: Situation) -> NDArray[np.float64]:
    """[candidates, VOTES], in the order of :data:`sidecar.stack.VOTES`."""
    reading = situation.reading
    tiers = reading.tier_probs
    near, _ = estimates(situation)
    own_chances = np.array([candidate.probability or 0.0 for candidate in situation.candidates])
    chances = np.stack((own_chances, near))
    bounded = np.minimum(np.maximum(chances, 1e-4), 1 - 1e-4)
    own, moved = np.log(bounded / (1 - bounded))
    found = np.empty((len(near), len(VOTES)))
    found[:, 0] = own
    found[:, 1] = moved - own
    found[:, 2:] = (
        _logit(reading.difficulty),
        tiers[2] - tiers[0] if tiers else 0.0,
        math.log(max(1, situation.call.input_tokens) / 100.0),
        reading.ood,
    )
    return found


def _logit(p: float) -> float:
    p = min(max(p, 1e-4), 1 - 1e-4)
    return math.log(p / (1 - p))
