"""Named scenarios: what the sidecar adds to each, and what becomes of errors.

Open loop with Poisson arrivals, routed and direct in interleaved rounds, the same
requests to the same models (see ``sidecar.load``). The kinds of request are those of
``sidecar bench``; on top of them come the faults: an upstream that fails in a tenth of
its answers, an encoder that is slow, one that is down. Under ``failure_pressure`` the
direct leg shows what an app without the sidecar would have seen.

    python -m bench.scenarios [--rate N] [--seconds N] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from typing import Any

import uvloop

from bench import ground
from bench.decision import config
from sidecar.load.client import Address
from sidecar.load.plan import Load, Objectives, Plan, Target
from sidecar.load.run import DIRECT, ROUTED, Site, run
from sidecar.load.scenarios import SCENARIOS
from sidecar.load.verdict import summarise, to_json


@dataclass(frozen=True)
class Scenario:
    """What is sent, and what is wrong meanwhile."""

    name: str
    sends: str
    failing: float = 0.0  # share of the upstream's answers
    fault: str | None = None  # of the classifier


ALL = (
    *(Scenario(name, name) for name in SCENARIOS),
    Scenario("failure_pressure", "mixed_difficulty", failing=0.1),
    Scenario("classifier_slow", "mixed_difficulty", fault="slow:50"),
    Scenario("classifier_down", "mixed_difficulty", fault="down"),
)


def measure(scenario: Scenario, rate: float, seconds: float, rounds: int) -> dict[str, Any]:
    with (
        ground.drilled_upstream(scenario.failing) as upstream,
        ground.sidecar(able(upstream), scenario.fault) as sidecar,
    ):
        plan = Plan(
            target=Target(url=sidecar.url),
            load=Load(rate=rate, duration_s=seconds, rounds=rounds),
            scenarios={scenario.sends: 1.0},
            objectives=Objectives(error_rate=1.0),
        )
        names = {name: model["upstream_model"] for name, model in able("")["models"].items()}
        site = Site(Address(sidecar.url), "auto", Address(upstream), names)
        before = sidecar.process.cpu_s()
        legs = uvloop.run(run(plan, site, lambda *_: None))
        cpu = sidecar.process.cpu_s() - before
        summary = summarise(plan, legs)
    told = to_json(summary)
    routed, direct = summary.first[ROUTED], summary.first[DIRECT]
    gap, gap_direct = summary.gap[ROUTED], summary.gap[DIRECT]
    failed = sum(bool(s.error) for leg in legs if leg.via == DIRECT for s in leg.samples)
    return {
        "requests": summary.requests,
        "errors": told["errors"],
        "errors_direct": failed,
        "reasons": told["reasons"],
        "readings": told["readings"],
        "decision_ms": told["decision_ms"],
        "added_first_content_ms": _difference(routed, direct),
        "added_gap_ms": _difference(gap, gap_direct),
        "generator_late_p99_ms": told["load_generator_late_ms"]["p99"],
        "sidecar_cpu_us": round(cpu / max(1, summary.requests) * 1e6),
    }


def able(upstream: str) -> dict[str, Any]:
    made = config(upstream)
    for model in made["models"].values():  # as the mock's models are
        model["capabilities"] = ["tools"]
    made["models"]["small"]["context"] = 8192  # a longer prompt is a 400 of the mock's
    return made


def _difference(routed: Any, direct: Any) -> dict[str, float] | None:
    if routed is None or direct is None:
        return None
    return {q: round(getattr(routed, q) - getattr(direct, q), 3) for q in ("p50", "p90", "p99")}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=6.0, help="a leg")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[], choices=[s.name for s in ALL])
    args = parser.parse_args()
    figures = {}
    for scenario in ALL:
        if args.only and scenario.name not in args.only:
            continue
        print(f"{scenario.name} ...", file=sys.stderr, flush=True)
        figures[scenario.name] = measure(scenario, args.rate, args.seconds, args.rounds)
    ground.record("scenarios", figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
