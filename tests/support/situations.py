"""Situations of every kind, drawn from a seed: what a decision engine must decide alike for ever.

`tests/unit/decide/golden.jsonl.gz` says what the engine decided in each of them when it was
written out plainly, one object for each model and one step after the other (since then one
explanation of the 660 has changed, where the search for neighbours became exact, and three
choices, where a limit or a conversation met the lengths that are assumed by task; and 23
where a request's limit met a default that no policy had ranked: it is no choice beyond the
limit without a reading, and no fallback; and one, where a cascade's try did not fit into
what its conversation's promise left; and what a model with overrides is expected to cost, in
142, and so the choice in 7; of 76 the reason, which tells the chances that `similarity` and
`ensemble` went by, and of 50 the end of an error's sentence). Run this module to write it
anew, which is right only where a decision was *meant* to change:

    python -m tests.support.situations | gzip -9n > tests/unit/decide/golden.jsonl.gz
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any, Final

import numpy as np
import orjson

from sidecar import library
from sidecar.config.snapshot import ModelSpec, Price, Snapshot
from sidecar.decide import Question, View, choose, plan
from sidecar.decide.observed import Mean, Observed
from sidecar.decide.session import Held
from sidecar.decide.view import Exhausted
from sidecar.dialects.overrides import Overrides
from sidecar.encoder.abilities import Ability, Catalogue
from sidecar.errors import ClassifierDown, RequestError
from sidecar.library import Library
from sidecar.stack import VOTES, Stack, Weights
from sidecar.types import (
    DOMAINS,
    TASKS,
    TIERS,
    Call,
    Decision,
    Features,
    Hints,
    Passed,
    Prompt,
    Reading,
)
from tests.support.builders import call, model, rule, snapshot

POLICIES: Final = (
    "fixed", "rules", "threshold", "cost_quality", "similarity", "bandit", "ensemble", "cascade",
)  # fmt: skip
_MANY, _FEW = 100, 30  # situations of a policy that reads the prompt, and of one that does not
_WIDTH: Final = 8  # of a demand vector


class _Drawn:
    """A bandit's draws, set beforehand."""

    def __init__(self, said: dict[str, float]) -> None:
        self._said = said

    def probabilities(self, reading: Reading, models: Any) -> list[float]:
        return [self._said[name] for name in models]


@cache
def _known() -> tuple[Library, Stack]:
    rng = random.Random(11)
    points = np.array([[rng.gauss(0, 1) for _ in range(_WIDTH)] for _ in range(120)])
    hard = np.array([rng.choice([0.0, 1.0, np.nan]) for _ in range(120)])
    scores = {
        f"a{i}": np.array([rng.choice([0.0, 0.4, 1.0, np.nan]) for _ in range(120)])
        for i in range(0, 12, 2)
    }
    near = library.build("golden", points, [str(i) for i in range(120)], hard, scores)
    weights = {
        f"a{i}": Weights(tuple(rng.gauss(0.3, 0.4) for _ in VOTES), rng.gauss(0, 0.5))
        for i in range(0, 12, 3)
    }
    return near, Stack("golden", near.digest, VOTES, weights)


def _spec(rng: random.Random, i: int) -> ModelSpec:
    """A model; some cost the same, some nothing, one speaks another dialect."""
    cost = rng.choice([0.0, 0.1, 0.5, 0.5, 2.0, 8.0, 30.0])
    made = model(
        f"m{i}",
        context=rng.choice([300, 4_000, 128_000, 128_000, 128_000]),
        can=rng.sample(["tools", "json_schema", "vision"], rng.choice([2, 3, 3])),
        family="anthropic" if rng.random() < 0.05 else "openai",
    )
    return replace(
        made,
        ability=f"a{i}",
        price=Price(cost, cost * rng.choice([0.1, 0.5, 1.0]), cost * rng.choice([1.0, 4.0])),
        overrides=Overrides(system_prefix="x" * 600) if rng.random() < 0.2 else None,
    )


def _snapshot(rng: random.Random, policy: str) -> Snapshot:
    specs = [_spec(rng, i) for i in range(rng.choice([2, 4, 7, 12]))]
    names = [spec.name for spec in specs]
    near, stack = _known()
    whens: list[dict[str, Any]] = [
        {"tenant": "acme"}, {"keywords": ["Indemnity", "liability"]}, {"regex": r"(?i)\bprove\b"},
        {"min_tokens": 3000}, {"task": ["code", "math"]}, {"domain": "legal", "max_tokens": 900},
        {"needs": "vision"}, {"headers": {"X-Team": ["red", "blue"]}}, {"tier": "complex"},
        {"time": {"days": ["mon", "sat"], "start": "22:00", "end": "06:00", "zone": "Asia/Tokyo"}},
    ]  # fmt: skip
    over = snapshot(
        specs,
        policy=policy,
        among=rng.sample(names, rng.randint((len(names) + 1) // 2, len(names))),
        default=rng.choice(names),
        quality=rng.choice([0.8, 0.9, 0.97, 1.0]),
        threshold=rng.random(),
        rules=[
            rule(f"r{i}", rng.choice(names), **when)
            for i, when in enumerate(rng.sample(whens, rng.choice([0, 0, 1, 3])))
        ],
        max_cost_usd=rng.choice([None, None, 1e-4, 1e-2]),
        usd_per_s=rng.choice([0.0, 0.0, 0.0005]),
        library=rng.choice([near, near, None]),
        stack=stack,
    )
    abilities = [
        Ability(
            f"a{i}",
            tuple(rng.gauss(0, 0.6) for _ in range(_WIDTH)),
            rng.gauss(0.5, 1.0),
            0.2 + 0.05 * i,
        )
        for i in range(len(specs))
    ]
    return replace(over, abilities=Catalogue(abilities, {}, _WIDTH, "golden"))


def _call(rng: random.Random) -> Call:
    text = rng.choice(
        ["hello", "Please PROVE it.", "Explain the liability clause.", "x = 1\n" * 400, "grüße"]
    )
    made = call(
        user=text,
        needs=rng.sample(["tools", "json_schema", "vision"], rng.choice([0, 0, 0, 1])),
        input_tokens=rng.choice([10, 250, 2_000, 2_000, 5_000]),
        max_output_tokens=rng.choice([None, None, 16, 900]),
        hints=Hints(
            tenant=rng.choice([None, "acme", "globex"]),
            quality=rng.choice([None, None, 0.7, 1.0]),
            max_cost_usd=rng.choice([None] * 5 + [1e-7, 1e-3]),
        ),
    )
    return replace(
        made,
        dialect=rng.choice(["chat"] * 8 + ["messages", "completions"]),
        prompt=Prompt(user=text, first=text, answered=True, in_tool_loop=rng.random() < 0.1),
        passed=Passed(plain=b"X-Team: red\r\n" if rng.random() < 0.3 else b""),
    )


def _reading(rng: random.Random) -> Reading:
    def spread(labels: tuple[str, ...]) -> tuple[float, ...]:
        return tuple(rng.random() for _ in labels) if rng.random() < 0.9 else ()

    demand = tuple(rng.gauss(0, 1) for _ in range(_WIDTH))
    return Reading(
        difficulty=rng.random(),
        demand=demand if rng.random() < 0.95 else None,
        task_probs=spread(TASKS),
        domain_probs=spread(DOMAINS),
        tier_probs=spread(TIERS),
        ood=rng.choice([0.0, 0.0, 0.1, 0.3, 0.5, 0.9]),
        output_tokens=rng.choice([None, None, 120.0]),
        version="golden",
        remembered=rng.choice(["", "", "exact"]),
    )


def _view(rng: random.Random, over: Snapshot) -> View:
    names = list(over.models)
    held = None
    if rng.random() < 0.4:
        spent = rng.random() * 1e-3
        held = Held(
            rng.choice(names), rng.choice(names), rng.choice([200, 4_000]), spent, spent * 1.01,
            cached={rng.choice(names): 900},
        )  # fmt: skip
    exhausted = ()
    if rng.random() < 0.1:
        at_limit = rng.choice(["cheapest", "refuse", "warn"])
        exhausted = (Exhausted("b", at_limit, "1 of 1 USD a day", 4000.0),)
    lengths = {"": Mean(40, 210.0), "code": Mean(9, 700.0)}
    return View(
        pinned=rng.choice(names) if rng.random() < 0.03 else None,
        now=1_790_000_000.0 + rng.randint(0, 7) * 40_000,
        cached_tokens=dict(held.cached) if held else {},
        observed={
            name: Observed(
                rng.choice([1.0, 0.9, 0.4]), rng.choice([None, 0.3, 2.0]), 0.02,
                rng.choice([lengths, {}]),
            )
            for name in rng.sample(names, rng.randint(0, len(names)))
        },
        lengths=rng.choice([{}, {"": 300.0, "code": 500.0, "qa": 90.0}]),
        draws=_Drawn({name: rng.random() for name in names}) if rng.random() < 0.8 else None,
        held=held,
        exhausted=exhausted,
    )  # fmt: skip


def decided() -> Iterator[dict[str, Any]]:
    """What is decided in each situation, as JSON-able values."""
    for policy in POLICIES:
        for number in range(_FEW if policy in ("fixed", "rules") else _MANY):
            rng = random.Random(f"{policy} {number}")
            over = _snapshot(rng, policy)
            request, view, said = _call(rng), _view(rng, over), _reading(rng)
            down = rng.random() < 0.05
            try:
                found = plan(request, Features("hello"), over, view)
                if isinstance(found, Question):
                    verdict = ClassifierDown("it is down") if down else said
                    found = choose(found, request, verdict, over, view)
            except RequestError as exc:
                yield {"case": f"{policy} {number}", "error": str(exc)}
            else:
                yield {"case": f"{policy} {number}", **_told(found)}


def _told(found: Decision) -> dict[str, Any]:
    return {
        "model": found.model,
        "reason": found.reason,
        "then": list(found.fallbacks),
        "tries": found.tries,
        "steps": [f"{step.stage}: {step.verdict}" for step in found.steps],
        "candidates": [
            [c.model, *(None if x is None else float(f"{x:.6g}") for x in (
                c.probability, c.cost_usd, c.latency_s, c.reliability))]
            for c in found.candidates
        ],
    }  # fmt: skip


if __name__ == "__main__":
    for row in decided():
        print(orjson.dumps(row).decode())
