"""Every policy on scored rows that nothing was made of: quality at the cost of the rules.

    python -m bench.policies ../shared/data/routing.jsonl.gz

For each pair of models it builds a library from the rows of split `train` and an ensemble
from those of `dev`, and replays the rows of `test` through the decision engine. Rules on
length and words are a point, so the others are read where they cost as much, drawn between
two settings; APGR is the share of the gap between the two models that is recovered, over
all shares of the cost between always-weak and always-strong (RouteLLM, section 3, by cost).
Serving abilities, unless an ability is named `NAME@SOURCE`: those know the benchmark's
prompting, which no deployment does. Also prints the row of the field's workload mix.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bench import ground
from sidecar import library
from sidecar.config.snapshot import RouteSpec
from sidecar.offline import simulate_report, stacking
from sidecar.offline.library_rows import gather
from sidecar.offline.session import Session, read_with_progress
from sidecar.offline.simulate import Study, variants
from sidecar.offline.simulate_setup import Setup, mixed, prepare, study
from sidecar.offline.simulate_suggest import suggest


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
    Pair("mmlu_pro", "Mistral-7B-Instruct-v0.2", "Meta-Llama-3.1-70B-Instruct", OWN, OWN_70B),
    Pair("llmrouter", "mistral-7b-instruct-v0.3", "llama-3.1-nemotron-51b-instruct", OWN, OWN_70B),
)
LEARNED = ("cost_quality", "threshold", "similarity", "ensemble")


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


def prepared(rows: Path, pair: Pair, split: str, file: Path, **options: Any) -> Setup:
    return prepare(rows, file, None, where={"source": pair.source, "split": split}, **options)


def measure(rows: Path, pair: Pair, folder: Path, serving: bool) -> dict[str, Any]:
    """The figures of one pair."""
    made = folder / f"{pair.source}.library"
    session = Session()
    if not made.exists():
        known = gather(rows, session.catalogue, {"source": pair.source, "split": "train"})
        vectors, _ = read_with_progress(session, known.rows)
        library.build(
            session.encoder.version, vectors, known.windows, known.hard, known.scores
        ).save(made)
    file = folder / "sidecar.yaml"
    files = {"similarity": {"library": made.name}, "ensemble": {"file": "stack.json"}}
    file.write_text(yaml.safe_dump(config(pair, serving, **files)))
    dev = prepared(rows, pair, "dev", file, unfitted=True)
    stacking.fit(dev.cases, study(dev).readings, dev.route, dev.snapshot).save(
        folder / "stack.json"
    )
    test = prepared(rows, pair, "test", file)
    over = study(test)
    found = figures(over, test)
    if pair is PAIRS[0] and serving:
        found["field_mix"] = field(over, test)
    return found


def figures(over: Study, test: Setup) -> dict[str, Any]:
    whole = simulate_report.report(over, test)
    lines = simulate_report.curves(over)
    rules = over.mean(over.play(whole_rules(over)).cost)
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
    parser.add_argument("--dry", action="store_true", help="print, and append nothing")
    args = parser.parse_args()
    found: dict[str, Any] = {"encoder": Session().encoder.version}
    with tempfile.TemporaryDirectory() as folder:
        for pair in PAIRS:
            if args.source and pair.source not in args.source:
                continue
            for serving in (True, False):
                name = pair.source if serving else f"{pair.source}, abilities @{pair.source}"
                found[name] = measure(args.rows, pair, Path(folder), serving)
                print(name, found[name], file=sys.stderr, flush=True)
    if not args.dry:
        ground.record("policies", found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
