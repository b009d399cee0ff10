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

from sidecar.decide.policies.base import Choice, Situation, cheapest_within, dearest_first
from sidecar.decide.policies.similarity import estimates, own_chances
from sidecar.decide.policies.told import with_chances
from sidecar.stack import Votes


def pick(situation: Situation) -> Choice:
    if situation.lost or situation.route.stack is None:
        return dearest_first(situation.candidates)
    candidates = situation.candidates
    chances = situation.route.stack.probabilities(candidates.abilities, votes(situation))
    choice = cheapest_within(situation, candidates, chances)
    said = with_chances(choice.why, "by the stack", candidates, chances, choice.order)
    return Choice(choice.order, said)


def votes(situation: Situation) -> Votes:
    """What each model's probability is weighed from."""
    reading = situation.reading
    tiers = reading.tier_probs
    own = own_chances(situation)
    near, _ = estimates(situation, own)
    each = np.array((own, near))
    np.minimum(np.maximum(each, 1e-4, out=each), 1 - 1e-4, out=each)
    each /= 1.0 - each
    np.log(each, out=each)
    return Votes(
        each=each,
        shared=(
            _logit(reading.difficulty),
            tiers[2] - tiers[0] if tiers else 0.0,
            math.log(max(1, situation.call.input_tokens) / 100.0),
            reading.ood,
        ),
    )


def _logit(p: float) -> float:
    p = min(max(p, 1e-4), 1 - 1e-4)
    return math.log(p / (1 - p))
