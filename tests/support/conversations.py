"""Conversations drawn from a seed, and upstreams that charge what they have cached as such."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sidecar.config.snapshot import ModelSpec, Price
from sidecar.types import Usage
from tests.support.builders import model

TTL = 300.0


def priced(name: str, fresh: float, cached: float, out: float) -> ModelSpec:
    return replace(model(name), price=Price(fresh, cached, out))


SMALL = priced("small", 0.07, 0.07, 0.07)
MIDDLE = priced("middle", 0.6, 0.3, 2.4)
LARGE = priced("large", 2.5, 1.25, 10.0)


@dataclass(frozen=True)
class Turn:
    question: int  # tokens of the user's new words
    output: int
    gap: float  # seconds since the last turn
    chances: tuple[float, ...]


class World:
    """Upstreams that charge what they have cached as such, and a policy over them."""

    def __init__(self, specs: list[ModelSpec]) -> None:
        self.models = {spec.name: spec for spec in specs}
        self.saw: dict[str, tuple[int, float]] = {}
        self.now = 0.0

    def charge(self, name: str, question: int, output: int) -> Usage:
        tokens, when = self.saw.get(name, (0, -1e9))
        price = self.models[name].price
        cached = tokens if self.now - when <= TTL and price.cached_input < price.input else 0
        self.saw[name] = (question + output, self.now)
        cached = min(cached, question)
        written = None if price.cache_write is None else question - cached
        return Usage(question, cached, output, None, written)

    def cached(self) -> dict[str, int]:
        return {n: tokens for n, (tokens, when) in self.saw.items() if self.now - when <= TTL}


def conversations(count: int) -> Iterator[tuple[list[ModelSpec], list[Turn]]]:
    rng = np.random.default_rng(20261122)
    usual = [SMALL, MIDDLE, LARGE]
    for _ in range(count // 20):
        share = float(rng.choice([1.0, 0.5, 0.25, 0.1, 0.1]))
        dear = np.sort(10 ** rng.uniform(-1.0, 1.0, 3)).tolist()
        made = [priced(f"m{d:.3f}", d, d * share, d * float(rng.uniform(1, 6))) for d in dear]
        most = 9
        first = rng.lognormal(6, 1.5, 20).astype(int).tolist()
        questions = (rng.lognormal(4.5, 1.5, (20, most)).astype(int) + 5).tolist()
        outputs = (rng.lognormal(5, 1.2, (20, most)).astype(int) + 1).tolist()
        pauses = rng.uniform(1, 250, (20, most)) + 1000.0 * (rng.random((20, most)) < 0.1)
        gaps = pauses.tolist()
        # some turns are easy and any model will do, some are hard
        harder = rng.random((20, most, 1))
        chances = (1 / (1 + np.exp(8 * (harder - np.array([0.2, 0.5, 0.9])) - 2))).tolist()
        for i, length in enumerate(rng.integers(1, most, 20).tolist()):
            questions[i][0] += first[i]
            turns = [
                Turn(questions[i][k], outputs[i][k], gaps[i][k], tuple(chances[i][k]))
                for k in range(length)
            ]
            yield (made if i % 2 else usual), turns
