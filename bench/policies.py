"""Every policy on scored rows that nothing was made of: quality at the cost of the rules.

    python -m bench.policies ../shared/data/routing.jsonl.gz [--source mmlu] [--limit 400]

For each pair of models it builds a library from the rows of split `train` and an ensemble
from those of `dev`, and replays the rows of `test` through the decision engine. Rules on
length and words are a point, so the others are read where they cost as much, drawn between
two settings: the bandit too, from the beliefs that it starts with (nothing is learnt), and
the cascade, with the check that `sidecar simulate` assumes. `over_both` is by how much each
beats the better of rules and random there, with the bootstrap's 95 % interval over the rows.
APGR is the share of the gap between the two models that is recovered, over all shares of the
cost between always-weak and always-strong (RouteLLM, section 3, by cost); random has 0.5.
Serving abilities, unless an ability is named `NAME@SOURCE`: those know the benchmark's
prompting, which no deployment does. Also prints the row of the field's workload mix.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from bench import ground
from sidecar import library
from sidecar.config.snapshot import RouteSpec
from sidecar.offline import simulate_report, stacking
from sidecar.offline.library_rows import gather
from sidecar.offline.session import Session, read_with_progress
from sidecar.offline.simulate import Played, Study, settings_of, turned, variants
from sidecar.offline.simulate_report import along
from sidecar.offline.simulate_setup import Setup, mixed, prepare, study
from sidecar.offline.simulate_suggest import suggest
from sidecar.types import Reading


@dataclass(frozen=True)
class Pair:
    """Two models of one source, and USD per million tokens: (input, output)."""

    source: str
    weak: str
    strong: str
    weak_price: tuple[float, float]
    strong_price: tuple[float, float]


# The first pair at RouteLLM's prices (section 5); the others at those of hosted open models.
OWN, OWN_70B = (0.2, 0.2), (0.9, 0.9)
PAIRS = (
    Pair("mmlu", "mixtral-8x7b-instruct", "gpt-4-1106-preview", (0.24, 0.24), (10, 30)),
    Pair("gsm8k", "mixtral-8x7b-instruct", "gpt-4-1106-preview", (0.24, 0.24), (10, 30)),
    Pair("mmlu_pro", "Mistral-7B-Instruct-v0.2", "Meta-Llama-3.1-70B-Instruct", OWN, OWN_70B),
    Pair("llmrouter", "mistral-7b-instruct-v0.3", "llama-3.1-nemotron-51b-instruct", OWN, OWN_70B),
)
LEARNED = ("cost_quality", "threshold", "similarity", "ensemble", "bandit", "cascade")
POINTS = 21  # of a curve
DRAWS = 400  # of the bootstrap


def config(pair: Pair, serving: bool, **route: object) -> dict[str, object]:
    def model(name: str, price: tuple[float, float]) -> dict[str, object]:
        ability = name if serving else f"{name}@{pair.source}"
        return {
            "upstream": "u", "upstream_model": name, "ability": ability, "context": 128_000,
            "price": {"input": price[0], "output": price[1]},
        }  # fmt: skip

    return {
        "upstreams": {"u": {"base_url": "http://127.0.0.1:1/v1"}},
        "models": {
            "weak": model(pair.weak, pair.weak_price),
            "strong": model(pair.strong, pair.strong_price),
        },
        "routes": {"auto": {"models": ["weak", "strong"], "default": "strong", **route}},
    }


class Rows:
    """The scored rows of one source, each read once whatever is asked of it."""

    def __init__(self, file: Path, source: str, limit: int | None) -> None:
        self.file, self.source, self.limit = file, source, limit
        self._read: dict[str, Sequence[Reading]] = {}

    def study(self, split: str, config: Path, **options: Any) -> tuple[Study, Setup]:
        where = {"source": self.source, "split": split}
        setup = prepare(self.file, config, None, where=where, limit=self.limit, **options)
        if split not in self._read:
            self._read[split] = study(setup).readings
        return Study(setup.cases, self._read[split], setup.route, setup.snapshot), setup


def measure(rows: Rows, pair: Pair, folder: Path, serving: bool) -> dict[str, Any]:
    """The figures of one pair."""
    made = folder / f"{pair.source}.library"
    if not made.exists():
        session = Session()
        known = gather(rows.file, session.catalogue, {"source": pair.source, "split": "train"})
        vectors, _ = read_with_progress(session, known.rows)
        library.build(
            session.encoder.version, vectors, known.windows, known.hard, known.scores
        ).save(made)
    file = folder / "sidecar.yaml"
    files = {"similarity": {"library": made.name}, "ensemble": {"file": "stack.json"}}
    file.write_text(yaml.safe_dump(config(pair, serving, **files)))
    dev, setup = rows.study("dev", file, unfitted=True)
    stacking.fit(dev.cases, dev.readings, setup.route, setup.snapshot).save(folder / "stack.json")
    over, test = rows.study("test", file)
    found = figures(over, test)
    if pair is PAIRS[0] and serving:
        found["field_mix"] = field(over, test)
    return found


def figures(over: Study, test: Setup) -> dict[str, Any]:
    whole = simulate_report.report(over, test)
    played = {
        name: [
            (setting, over.play(turned(route, setting)))
            for setting in settings_of(over, route, POINTS)
        ]
        for name, route in variants(over.route, over.snapshot).items()
        if name in LEARNED
    }
    lines = {
        name: [
            {"setting": at, "cost_usd": over.mean(one.cost), "quality": over.mean(one.score)}
            for at, one in line
        ]
        for name, line in played.items()
    }
    by_rules = over.play(whole_rules(over))
    rules = over.mean(by_rules.cost)
    ends = [over.mean(over.costs[:, i]) for i in (over.weak, over.strong)]
    scores = [over.mean(over.scores[:, i]) for i in (over.weak, over.strong)]
    at = np.linspace(*ends, 101)

    def apgr(line: list[dict[str, float]]) -> float:
        gained = [simulate_report.at_cost(line, over, cost) for cost in at]
        return float((np.mean(gained) - scores[0]) / (scores[1] - scores[0]))

    return {
        "rows": whole["rows"],
        "abilities": {name: model["ability"] for name, model in whole["models"].items()},
        "always": {"weak": round(scores[0], 4), "strong": round(scores[1], 4)},
        "rules_cost_share": round((rules - ends[0]) / (ends[1] - ends[0]), 3),
        "at_the_cost_of_rules": {
            "rules": round(whole["policies"]["rules"]["quality"], 4),
            "random": round(over.random_at(rules), 4),
            **{
                name: round(simulate_report.at_cost(lines[name], over, rules), 4)
                for name in LEARNED
            },
        },
        "over_both": {
            name: beaten(over, [one for _, one in line], by_rules) for name, line in played.items()
        },
        "curve": {
            "cost_share": [round(float(share), 2) for share in np.linspace(0, 1, 21)],
            **{
                name: [
                    round(simulate_report.at_cost(lines[name], over, float(cost)), 4)
                    for cost in np.linspace(*ends, 21)
                ]
                for name in LEARNED
            },
        },
        "apgr_by_cost": {name: round(apgr(lines[name]), 3) for name in LEARNED},
    }


def beaten(over: Study, line: list[Played], rules: Played) -> dict[str, Any]:
    """By how much a policy's score at the cost of ``rules`` is above theirs and a draw's."""
    ends = over.baseline("always_weak"), over.baseline("always_strong")
    each = [*line, *ends, rules]
    costs, scores = np.array([p.cost for p in each]), np.array([p.score for p in each])

    def ahead(weights: NDArray[np.float64]) -> float:
        at = [(float(c), float(s)) for c, s in zip(costs @ weights, scores @ weights, strict=True)]
        cost, score = at.pop()
        return along(at, cost) - max(score, along(at[-2:], cost))

    rng, n = np.random.default_rng(0), len(over.cases)
    drawn = [ahead(over.weights * rng.multinomial(n, np.full(n, 1 / n))) for _ in range(DRAWS)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        "by": round(ahead(over.weights), 4),
        "by_95": [round(float(low), 4), round(float(high), 4)],
    }


def whole_rules(over: Study) -> RouteSpec:
    """The rules that stand in for a route without any."""
    return variants(over.route, over.snapshot)["rules"]


def field(over: Study, test: Setup) -> dict[str, Any]:
    """The workload the field quotes: what each quality asked for costs, chosen on one half."""
    cases = mixed(test.cases)
    by_id = {case.id: reading for case, reading in zip(over.cases, over.readings, strict=True)}
    mix = Study(cases, [by_id[case.id] for case in cases], over.route, over.snapshot)
    found = {}
    for asked in (0.94, 0.96, 0.97, 0.98):
        evidence = suggest(mix, asked).evidence
        held = evidence["held_out"]
        found[str(asked)] = {
            "policy": evidence["policy"],
            **{key: round(held[key], 3) for key in ("retention", "cost_cut")},
            "retention_95": [round(x, 3) for x in held["retention_95"]],
        }
    rules = mix.figures(mix.play(whole_rules(mix)))
    found["rules"] = {key: round(float(rules[key]), 3) for key in ("retention", "cost_cut")}  # type: ignore[arg-type]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--source", action="append", help="only this source; again for more")
    parser.add_argument("--limit", type=int, help="only the first rows of dev and of test")
    parser.add_argument("--dry", action="store_true", help="print, and append nothing")
    args = parser.parse_args()
    session = Session()
    found: dict[str, Any] = {"encoder": session.encoder.version}
    with tempfile.TemporaryDirectory() as folder:
        for pair in PAIRS:
            if args.source and pair.source not in args.source:
                continue
            rows = Rows(args.rows, pair.source, args.limit)
            own = [f"{name}@{pair.source}" for name in (pair.weak, pair.strong)]
            for serving in (True, False):
                if not serving and None in map(session.catalogue.resolve, own):
                    continue  # the catalogue has no ability of these two for this source alone
                name = pair.source if serving else f"{pair.source}, abilities @{pair.source}"
                found[name] = measure(rows, pair, Path(folder), serving)
                print(name, found[name], file=sys.stderr, flush=True)
    if not args.dry:
        ground.record("policies", found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
