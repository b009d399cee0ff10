"""The costliest policies decide as their formulas, written out plainly, would.

The engine asks twenty models at once, of thousands of neighbours, with every trick that
makes it fast. Here stands what it is to compute, one model and one neighbour at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from sidecar import library
from sidecar.config.schema import Similarity
from sidecar.config.snapshot import ModelSpec, Price, Snapshot
from sidecar.decide import Question, View, choose, plan
from sidecar.encoder.abilities import Ability, Catalogue
from sidecar.library import Library
from sidecar.stack import VOTES, Stack, Weights
from sidecar.types import Features, Hints, Reading
from tests.support.builders import call, model, snapshot

MODELS, WIDTH, CASES, QUALITY, TRUST, COUNT = 20, 24, 150, 0.9, 8.0, 32
SPREAD = np.geomspace(1.0, 0.05, WIDTH)


@cache
def known(entries: int, scored: float) -> Library:
    """Prompts of which a share is scored, and another labelled."""
    rng = np.random.default_rng(entries)
    none = rng.random((entries, MODELS)) > scored
    scores = np.where(none, np.nan, rng.choice([0.0, 0.5, 1.0], (entries, MODELS)))
    hard = rng.choice([0.0, 1.0, np.nan, np.nan], entries)
    return library.build(
        "test",
        rng.normal(size=(entries, WIDTH)) * SPREAD,
        [str(i) for i in range(entries)],
        hard,
        {f"a{i}": scores[:, i] for i in range(0, MODELS, 2)},  # of every other model nothing
    )


@cache
def stacked(near: int, scored: float) -> Stack:
    rng = np.random.default_rng(7)
    weights = {
        f"a{i}": Weights(tuple(rng.normal(0.4, 0.3, len(VOTES)).tolist()), float(rng.normal()))
        for i in range(0, MODELS, 3)
    }
    return Stack("test", known(near, scored).digest, VOTES, weights)


def over(policy: str, near: int, scored: float) -> Snapshot:
    rng = np.random.default_rng(3)
    specs: list[ModelSpec] = []
    for i in range(MODELS):
        cost = float(rng.uniform(0.1, 20))
        made = model(f"m{i}", can=["tools"] if i % 4 else [])
        specs.append(replace(made, ability=f"a{i}", price=Price(cost, cost, 3 * cost)))
    route = snapshot(
        specs, policy=policy, quality=QUALITY, library=known(near, scored),
        stack=stacked(near, scored), similarity=Similarity(neighbours=COUNT, trust=TRUST),
    )  # fmt: skip
    abilities = [
        Ability(f"a{i}", tuple(rng.normal(0, 0.6, WIDTH).tolist()), float(rng.normal()), 0.5)
        for i in range(MODELS)
    ]
    return replace(route, abilities=Catalogue(abilities, {}, WIDTH, "test"))


def asked(rng: np.random.Generator) -> Reading:
    tiers = rng.dirichlet(np.ones(3)).tolist()
    return Reading(
        difficulty=float(rng.random()),
        demand=tuple((rng.normal(size=WIDTH) * SPREAD).tolist()),
        tier_probs=tuple(tiers),
        ood=float(rng.choice([0.0, 0.2, 0.4])),
        version="test",
    )


# -- written out ------------------------------------------------------------------------


def similarity(
    said: Reading, chances: Mapping[str, float], costs: Mapping[str, float], near: Library
) -> dict[str, float]:
    """Each model's chance by its neighbours: see :mod:`sidecar.decide.policies.similarity`."""
    squares = ((near.vectors.astype(float) - np.array(said.demand)) ** 2).sum(1)
    # which of them count is the search's to say, and tested with it
    nearest = near.nearest(said.demand or (), COUNT)[0].tolist()
    assert len(set(nearest) - set(np.argsort(squares)[: 2 * COUNT].tolist())) <= COUNT // 8
    dearest = max(costs, key=lambda name: costs[name])
    found = {}
    for name, chance in chances.items():
        column = near.columns.get(f"a{name[1:]}")
        good, total = TRUST * chance, TRUST
        for entry in nearest:
            weight = math.exp(-squares[entry] / (2 * near.typical**2))
            if column is not None and not math.isnan(near.scores[entry, column]):
                good += weight * float(near.scores[entry, column])
                total += weight
            label = float(near.hard[entry])
            if not math.isnan(label):
                total += weight
                good += weight if label == 0.0 or name == dearest else 0.0
        found[name] = good / total
    return found


def ensemble(
    said: Reading, chances: Mapping[str, float], near: Mapping[str, float], weights: Stack
) -> dict[str, float]:
    """Each model's chance by the stack: see :mod:`sidecar.decide.policies.ensemble`."""
    tiers = said.tier_probs
    found = {}
    for name, chance in chances.items():
        own = weights.weights.get(f"a{name[1:]}")
        votes = (
            logit(chance), logit(near[name]) - logit(chance), logit(said.difficulty),
            tiers[2] - tiers[0], math.log(10 / 100), said.ood,
        )  # fmt: skip
        logits = votes[0]
        if own is not None:
            logits = sum(w * v for w, v in zip(own.slope, votes, strict=True)) + own.shift
        found[name] = 1 / (1 + math.exp(-logits))
    return found


def logit(p: float) -> float:
    p = min(max(p, 1e-4), 1 - 1e-4)
    return math.log(p / (1 - p))


def order(said: Reading, chances: Mapping[str, float], costs: Mapping[str, float]) -> list[str]:
    """Cheapest first among those within the quality asked for, then the likeliest."""
    keep = 1 - (1 - QUALITY) * (1 - said.ood)
    floor = keep * max(chances.values())
    enough = sorted((n for n in chances if chances[n] >= floor), key=lambda n: costs[n])
    return enough + sorted((n for n in chances if chances[n] < floor), key=lambda n: -chances[n])


# -- beside the engine ------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["similarity", "ensemble"])
@pytest.mark.parametrize(("entries", "scored"), [(6_000, 0.7), (6_000, 0.0), (500, 1.0)])
def test_the_engine_decides_as_the_formulas_written_out(
    policy: str, entries: int, scored: float
) -> None:
    route = over(policy, entries, scored)
    near, weights = known(entries, scored), stacked(entries, scored)
    rng = np.random.default_rng(entries + len(policy))
    chosen = set()
    for case in range(CASES):
        said = asked(rng)
        # of all models, of those that have tools, or of those within a limit
        request = call(
            needs=["tools"] if case % 3 == 1 else [],
            hints=Hints(max_cost_usd=0.008) if case % 3 == 2 else None,
        )
        question = plan(request, Features("hello"), route)
        assert isinstance(question, Question)
        decision = choose(question, request, said, route, View())
        limit = 0.008 if case % 3 == 2 else math.inf
        seen = [each for each in decision.candidates if each.cost_usd <= limit]
        assert len(seen) == MODELS if case % 3 == 0 else 3 < len(seen) < MODELS
        chances = {each.model: each.probability or 0.0 for each in seen}
        costs = {each.model: each.cost_usd for each in seen}
        by = similarity(said, chances, costs, near)
        if policy == "ensemble":
            by = ensemble(said, chances, by, weights)
        assert [decision.model, *decision.fallbacks] == order(said, by, costs)
        chosen.add(decision.model)
    assert len(chosen) > 3  # or the cases were all the same
