"""Scored prompts replayed through a route: what each policy would have cost and kept.

Decisions are made by the same :func:`~sidecar.decide.plan` and
:func:`~sidecar.decide.choose` that serve, over readings of one prompt at a time (in a
batch the encoder's 8-bit activations round differently), from an empty view: nothing
learned, cached or pinned; a bandit draws as it does when it serves, from a seed. A cascade's
cheap try is counted with both calls where its check rejects it, by a stated model of the
check (:class:`Check`). What a row does not say of its answers' length is taken to be
as long for every model as serving would expect.

Beside the policies stand the strategies that need none: always the cheapest and the
dearest of the models, one drawn at random (its mean, not a draw), and the oracle, which
knows the scores and takes the cheapest of the best.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sidecar.config import rules, schema
from sidecar.config.snapshot import ModelSpec, RouteSpec, RuleSpec, Snapshot
from sidecar.decide import Question, View, choose, plan, price
from sidecar.errors import DataError, RequestError
from sidecar.offline.simulate_rows import Case
from sidecar.state.abilities_online import Learner
from sidecar.types import Reading

Array = NDArray[np.float64]

BASELINES: Final = ("always_strong", "always_weak", "random", "oracle")
# What turns each policy from cheap to good. Where a policy weighs chance against price, what an
# answer is worth: at equal cost that keeps more quality than a share of the best chance does.
KNOBS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cost_quality": "worth_usd",
        "threshold": "threshold",
        "similarity": "worth_usd",
        "ensemble": "worth_usd",
        "bandit": "worth_usd",
        "cascade": "try_above",
    }
)
# Rules as an operator without a classifier writes them, for a route that has none.
_HARD_WORDS: Final = (
    "prove", "derive", "theorem", "integral", "equation", "step by step", "analyze", "analyse",
    "compare", "implement", "algorithm", "debug", "refactor", "explain why", "calculate",
)  # fmt: skip
_LONG_TOKENS: Final = 400


@dataclass(frozen=True, slots=True)
class Check:
    """How well a cascade's check tells a bad answer from a good one: assumed, and printed.

    Scored rows say how good an answer was and not what it looked like, and the check sees
    looks alone: an answer that is empty, refuses, or is not the JSON that was asked for.
    Most wrong answers look like right ones. So the defaults are low; whoever has a log of
    their own knows better. A score between 0 and 1 is the chance of a good answer.
    """

    hit: float = 0.1  # the share of bad answers that it rejects
    false_alarm: float = 0.01  # and of good ones

    def rejects(self, score: float) -> float:
        """The chance that an answer of this score is rejected."""
        return self.hit * (1.0 - score) + self.false_alarm * score

    def tried(self, first: tuple[float, float], then: tuple[float, float]) -> tuple[float, float]:
        """Expected (cost, score) of a try and, where it is rejected, of the model after it."""
        cost, score = first
        rejected = self.rejects(score)
        kept = score * (1.0 - self.false_alarm)
        return cost + rejected * then[0], kept + rejected * then[1]


@dataclass(frozen=True, slots=True)
class Played:
    """One strategy over all cases."""

    cost: Array  # [n] USD
    score: Array  # [n]
    models: Mapping[str, float]  # weighted share of the requests
    reasons: Mapping[str, int]
    decide_us: Array  # [n]; empty for a strategy that decides nothing
    refused: int = 0  # answered with an error: worth nothing, at no cost
    chosen: tuple[str, ...] = ()  # [n] the model of each case; empty where refused
    asked_twice: float = 0.0  # weighted share of the requests, as expected


class Study:
    """Cases, what the encoder makes of them, and what each model would cost for them."""

    def __init__(
        self,
        cases: Sequence[Case],
        readings: Sequence[Reading],
        over: RouteSpec,
        snapshot: Snapshot,
        check: Check = Check(),
    ) -> None:
        self.check = check
        if not cases:
            raise DataError("there is no row to simulate")
        self.cases, self.readings, self.route, self.snapshot = cases, readings, over, snapshot
        self.models = named(over, snapshot)
        self.weights = np.array([case.weight for case in cases])
        self.weights = self.weights / self.weights.sum()
        self.scores = np.array([[c.scores[m.name] for m in self.models] for c in cases])
        self.costs = np.array(
            [
                [_cost(case, model, reading) for model in self.models]
                for case, reading in zip(cases, readings, strict=True)
            ]
        )
        prices = [model.price.output for model in self.models]
        self.strong, self.weak = int(np.argmax(prices)), int(np.argmin(prices))

    def mean(self, values: Array) -> float:
        return float(self.weights @ values)

    def only(self, chosen: Array) -> Study:
        """The cases that ``chosen`` [n] marks."""
        at = np.flatnonzero(chosen).tolist()
        return Study(
            [self.cases[i] for i in at],
            [self.readings[i] for i in at],
            self.route,
            self.snapshot,
            self.check,
        )

    def play(
        self, route: RouteSpec, track: Callable[[Iterable[int]], Iterable[int]] = iter
    ) -> Played:
        """Every case through ``route``, decided as it would be served."""
        snapshot = replace(self.snapshot, routes=MappingProxyType({route.name: route}))
        index = {model.name: i for i, model in enumerate(self.models)}
        n = len(self.cases)
        cost, score, spent = np.zeros(n), np.zeros(n), np.zeros(n)
        chosen = [""] * n
        shares: dict[str, float] = dict.fromkeys(index, 0.0)
        reasons: Counter[str] = Counter()
        refused, asked_twice = 0, 0.0
        bandit = _bandit(route, snapshot)
        for i in track(range(n)):
            case, reading = self.cases[i], self.readings[i]
            view = View(now=case.now, draws=bandit.draws() if bandit else None)
            began = time.perf_counter()
            try:
                found = plan(case.call, case.features, snapshot, view)
                if isinstance(found, Question):
                    found = choose(found, case.call, reading, snapshot, view)
            except RequestError as exc:
                refused += 1
                reasons[exc.code or "refused"] += 1
                continue
            finally:
                spent[i] = time.perf_counter() - began
            at, chosen[i] = index[found.model], found.model
            cost[i], score[i] = self.costs[i, at], self.scores[i, at]
            if found.tries:
                then = index[found.fallbacks[0]]
                asked_twice += float(self.weights[i]) * self.check.rejects(self.scores[i, at])
                cost[i], score[i] = self.check.tried(
                    (cost[i], score[i]), (self.costs[i, then], self.scores[i, then])
                )
            shares[found.model] += float(self.weights[i])
            reasons[found.reason] += 1
        return Played(
            cost, score, shares, dict(reasons), spent * 1e6, refused, tuple(chosen), asked_twice
        )

    def baseline(self, name: str) -> Played:
        """One of :data:`BASELINES`."""
        n, k = self.scores.shape
        if name == "random":
            share = np.full((n, k), 1.0 / k)
        else:
            at = {
                "always_strong": np.full(n, self.strong),
                "always_weak": np.full(n, self.weak),
                "oracle": np.lexsort((self.costs, -self.scores), axis=1)[:, 0],
            }[name]
            share = np.eye(k)[at]
        shares = self.weights @ share
        return Played(
            cost=(share * self.costs).sum(1),
            score=(share * self.scores).sum(1),
            models={m.name: float(shares[i]) for i, m in enumerate(self.models)},
            reasons={},
            decide_us=np.zeros(0),
        )

    def break_even(self, names: Sequence[str]) -> Array:
        """USD at which the better of two models of ``names`` becomes worth its price, for every
        pair and case where the dearer one has more of a chance. One of them at least.
        """
        at = [i for i, model in enumerate(self.models) if model.name in names]
        who = [self.models[i].ability for i in at]
        chances = np.array(
            [self.snapshot.abilities.probabilities(reading, who) for reading in self.readings]
        )
        found = []
        for i, j in itertools.permutations(range(len(at)), 2):
            more, dearer = (
                chances[:, j] - chances[:, i],
                self.costs[:, at[j]] - self.costs[:, at[i]],
            )
            pays = (more > 1e-4) & (dearer > 0)
            found.append(dearer[pays] / more[pays])
        worths = np.concatenate(found) if found else np.zeros(0)
        return worths if len(worths) else np.array([self.costs.max() + 1e-6])

    def figures(self, played: Played) -> dict[str, object]:
        """What ``simulate --json`` says of one strategy."""
        strong_cost = self.mean(self.costs[:, self.strong])
        strong_score = self.mean(self.scores[:, self.strong])
        cost, quality = self.mean(played.cost), self.mean(played.score)
        found: dict[str, object] = {
            "cost_usd": cost * len(self.cases),
            "quality": quality,
            "retention": quality / strong_score if strong_score else None,
            "cost_cut": 1 - cost / strong_cost if strong_cost else None,
            "models": {name: round(share, 4) for name, share in played.models.items()},
        }
        if len(played.decide_us):
            p50, p99 = np.percentile(played.decide_us, [50, 99])
            found["decide_us"] = {"p50": round(float(p50), 1), "p99": round(float(p99), 1)}
            found["reasons"] = dict(played.reasons)
            found["refused"] = played.refused
        if played.asked_twice:
            found["asked_twice"] = round(played.asked_twice, 4)
        return found

    def random_at(self, cost: float) -> float:
        """Mean score of drawing between always-weak and always-strong at a mean cost [USD]."""
        ends = (self.weak, self.strong)
        costs = [self.mean(self.costs[:, end]) for end in ends]
        return float(np.interp(cost, costs, [self.mean(self.scores[:, end]) for end in ends]))

    def curve(
        self, route: RouteSpec, settings: Sequence[float]
    ) -> list[tuple[float, float, float]]:
        """(setting, mean cost, mean score) of ``route`` over settings of its policy's knob."""
        found = []
        for setting in settings:
            played = self.play(turned(route, setting))
            found.append((setting, self.mean(played.cost), self.mean(played.score)))
        return found


def turned(route: RouteSpec, setting: float) -> RouteSpec:
    """``route`` with its policy's knob at ``setting``."""
    if route.policy == "cascade":
        terms = route.cascade.model_copy(update={"try_above": setting})
        return replace(route, cascade=terms)
    if KNOBS[route.policy] == "threshold":
        return replace(route, threshold=setting)
    return replace(route, worth_usd=setting)


def settings_of(study: Study, route: RouteSpec, points: int) -> list[float]:
    """Settings of a policy's knob from cheap to good.

    Of what an answer is worth, as many quantiles of the worths at which the encoder's own
    chances change a decision of ``study``: between them little changes.
    """
    steps = np.linspace(0, 1, points)
    if KNOBS[route.policy] != "worth_usd":
        return [float(step) for step in steps]
    even = study.break_even(route.models)
    return [float(f"{worth:.4g}") for worth in np.unique(np.quantile(even, steps))]


def named(route: RouteSpec, snapshot: Snapshot) -> list[ModelSpec]:
    """Every model that ``route`` may choose, in its order."""
    names = (*route.models, *(rule.model for rule in route.rules), route.default)
    return [snapshot.models[name] for name in dict.fromkeys(names)]


def variants(route: RouteSpec, snapshot: Snapshot) -> dict[str, RouteSpec]:
    """The route's own policy, and each other policy in its place that needs nothing more."""
    found = {route.policy: route}
    for policy in (*KNOBS, "fixed"):
        has = {"similarity": route.library is not None, "ensemble": route.stack is not None}
        if has.get(policy, True):
            found.setdefault(policy, replace(route, policy=policy))
    if "rules" not in found:
        own = route.rules
        by = replace(route, policy="rules") if own else stand_in(route, snapshot)
        found["rules"] = by
    return found


def stand_in(route: RouteSpec, snapshot: Snapshot) -> RouteSpec:
    """``route`` by rules on length and words, the rest to its cheapest model."""
    models = [snapshot.models[name] for name in route.models]
    strong = max(models, key=lambda m: m.price.output).name
    weak = min(models, key=lambda m: m.price.output).name

    def rule(name: str, when: schema.When) -> RuleSpec:
        return rules.compiled(schema.Rule(name=name, when=when, model=strong))

    return replace(
        route,
        policy="rules",
        default=weak,
        rules=(
            rule("long", schema.When(min_tokens=_LONG_TOKENS)),
            rule("hard-words", schema.When(keywords=_HARD_WORDS)),
        ),
    )


def _bandit(route: RouteSpec, snapshot: Snapshot) -> Learner | None:
    """What a route that explores draws from: the beliefs that it starts serving with."""
    if route.policy != "bandit":
        return None
    settings = snapshot.config.learning or schema.Learning()
    learner = Learner(snapshot, settings.memory, settings.seed or 0)
    return learner if learner.models else None


def _cost(case: Case, model: ModelSpec, reading: Reading) -> float:
    said = case.output_tokens.get(model.name)
    if said is not None:
        return price.cost(case.call, model, said, View())
    return price.expected(case.call, model, reading, View())
