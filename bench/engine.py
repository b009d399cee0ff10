"""The decision engine alone: features and a reading in, a decision out, no classifier.

    python -m bench.engine [--models 20] [--decisions 2000]

Times `plan` and `choose` for every policy over a route of that many models, from the packaged
catalogue, as a process that serves would run them: the ensemble with a library of 10,000
prompts, the bandit with draws, what was observed of every model in the view, five rules
before it. Policies take turns, fifty decisions each, so that a busy moment hits all alike;
the collector is off while a decision is timed, as a serving process freezes what it starts
with. Beside wall time stand the process's own CPU time, and a yardstick: a thousand turns of
an empty Python loop in the same rounds, by which machines of other speed, or busy ones,
compare. Where `make compiled` has been, the same is timed of the request path as machine
code, as images have it, in a process of its own. Also times the worst pattern found that a
rule may have, on the text that a rule looks at.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import ground
from sidecar import decide, library
from sidecar.config import patterns, rules, schema
from sidecar.config.snapshot import ModelSpec, Price, RouteSpec, Snapshot, UpstreamSpec
from sidecar.decide import Question, View, choose, plan
from sidecar.decide.observed import Mean, Observed
from sidecar.decide.rules import PATTERN_CHARS
from sidecar.dialects import BY_FAMILY
from sidecar.encoder.abilities import Catalogue
from sidecar.encoder.bundle import Bundle
from sidecar.features import features_of
from sidecar.stack import VOTES, Stack, Weights
from sidecar.state.abilities_online import Learner
from sidecar.types import DOMAINS, TASKS, TIERS, Call, Prompt, Reading

POLICIES = (
    "fixed", "rules", "threshold", "cost_quality", "cascade", "bandit", "similarity", "ensemble",
)  # fmt: skip
ENTRIES = 10_000
BLOCK = 50  # decisions in a row by one policy
FREE = 5  # dimensions in which the library's vectors vary freely
# By how much the demand vectors of mmlu's 11,129 training prompts differ along their own axes
# (standard deviations, of encoder b847389236d2).
SPREAD = (
    3.09, 1.31, 1.13, 0.85, 0.72, 0.58, 0.57, 0.46, 0.38, 0.35, 0.32, 0.28, 0.23, 0.17, 0.14, 0.14,
    0.12, 0.11, 0.11, 0.10, 0.10, 0.09, 0.09, 0.09, 0.08, 0.08, 0.08, 0.07, 0.07, 0.06, 0.06, 0.03,
)  # fmt: skip
WORST = (r".*a.{30}b", r"(.*a.{20}){2}c", r"([ab]*a[ab]{12}){3}c", r"(a?){50}a{50}b")
OTHER_TASK = "translation"  # of a rule, and of no prompt here
ORDINARY = r"(?i)\b(prove|derive|integral|theorem)\b"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--decisions", type=int, default=2000, help="for each policy")
    parser.add_argument("--dry", action="store_true", help="print, and append nothing")
    args = parser.parse_args()
    figures = measure(args.models, args.decisions) | {"patterns_ms": searched()}
    if ground.COMPILED.exists() and not args.dry:
        figures["compiled_us"] = compiled(args.models, args.decisions)
    print(json.dumps(figures, indent=2))
    if not args.dry:
        ground.record("engine", figures)
    return 0


def measure(models: int, decisions: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    catalogue = Catalogue.of(Bundle.load())
    specs = [model(name, i) for i, name in enumerate(catalogue.names[:models])]
    near, stack = known(specs, catalogue, rng)
    routes = {policy: route(policy, specs, near, stack) for policy in POLICIES}
    calls = [call(i) for i in range(64)]
    seen = [features_of(each.prompt) for each in calls]
    readings = [reading(rng, catalogue.demand) for _ in calls]
    snapshots = {
        name: Snapshot(
            config=schema.Config.model_construct(),
            models=MappingProxyType({spec.name: spec for spec in specs}),
            routes=MappingProxyType({"auto": each}),
            abilities=catalogue,
            generation=1,
            digest="",
        )
        for name, each in routes.items()
    }
    view = View(
        now=1e9,
        observed={
            spec.name: Observed(
                reliability=0.99,
                first_s=0.4,
                token_s=0.01,
                output_tokens={"": Mean(50, 300.0), "code": Mean(9, 500.0)},
            )
            for spec in specs
        },
        lengths={"": 300.0, "code": 400.0},
    )
    learner = Learner(snapshots["bandit"], 2000, seed=0)
    drawing = [replace(view, draws=learner.draws()) for _ in calls]
    spent: dict[str, list[float]] = {name: [] for name in snapshots}
    cpu = dict.fromkeys(snapshots, 0.0)
    yardstick = []
    for turn in range(1 + decisions // BLOCK):  # the first is not counted
        gc.enable()
        gc.collect()
        gc.disable()
        for name, snapshot in snapshots.items():
            for i in range(turn * BLOCK, (turn + 1) * BLOCK):
                at = i % len(calls)
                world = drawing[at] if name == "bandit" else view
                began, used = time.perf_counter(), time.thread_time()
                found = plan(calls[at], seen[at], snapshot, world)
                if isinstance(found, Question):
                    choose(found, calls[at], readings[at], snapshot, world)
                if turn:
                    spent[name].append(time.perf_counter() - began)
                    cpu[name] += time.thread_time() - used
            began = time.perf_counter()
            for _ in range(1000):
                pass
            yardstick.append(time.perf_counter() - began)
    gc.enable()
    return {
        "models": models,
        "decisions": decisions,
        "machine_code": not str(decide.policies.base.__file__).endswith(".py"),
        "yardstick_us": {
            "min": round(min(yardstick) * 1e6, 1),
            "p50": round(float(np.percentile(yardstick, 50)) * 1e6, 1),
        },
        "us": {
            name: {
                "p10": round(float(np.percentile(times, 10)) * 1e6, 1),
                "p50": round(float(np.percentile(times, 50)) * 1e6, 1),
                "p99": round(float(np.percentile(times, 99)) * 1e6, 1),
                "cpu_mean": round(cpu[name] / decisions * 1e6, 1),
            }
            for name, times in spent.items()
        },
    }


def compiled(models: int, decisions: int) -> Any:
    """What :func:`measure` says in a process that has the compiled package first on its path."""
    run = [sys.executable, "-m", "bench.engine", "--dry"]
    run += ["--models", str(models), "--decisions", str(decisions)]
    # `-m` puts the working folder first, so the bench is found behind the package
    path = os.pathsep.join((str(ground.COMPILED), str(ground.ROOT)))
    with tempfile.TemporaryDirectory() as elsewhere:
        said = subprocess.run(
            run, check=True, capture_output=True, text=True, cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    found = json.loads(said.stdout)
    if not found["machine_code"]:
        raise RuntimeError(f"{ground.COMPILED} has no compiled package: run `make compiled`")
    return found["us"]


def model(name: str, i: int) -> ModelSpec:
    upstream = UpstreamSpec(
        name="u", base_url="http://127.0.0.1:1/v1", family="openai", auth="none", key=None,
        ca_file=None, stream_usage=True, max_connections=1, timeouts=schema.Timeouts(),
    )  # fmt: skip
    cost = 0.05 * 1.4**i
    return ModelSpec(
        name=f"model-{i}", upstream=upstream, replicas=(upstream,), upstream_model=name,
        ability=name, price=Price(cost, cost / 2, cost * 4), context=128_000,
        capabilities=frozenset({"tools", "json_schema"}), dialects=BY_FAMILY["openai"],
    )  # fmt: skip


def drawn(rng: np.random.Generator, count: int, width: int) -> NDArray[np.float64]:
    """Demand vectors [count, width] like those of prompts: as far from each other along every
    axis, and on a curved surface of ``FREE`` dimensions, so that a search among them looks at
    as many pages (``python -m bench.neighbours`` says how many those of prompts take)."""
    bent, middle, axes = surface(width)
    return np.asarray((np.tanh(rng.normal(size=(count, FREE)) @ bent) - middle) @ axes)


@cache
def surface(width: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What bends a plane, the mean of what comes of it, and the axes that it is turned to."""
    rng = np.random.default_rng(1)
    bent = rng.normal(size=(FREE, 2 * width))
    points = np.tanh(rng.normal(size=(5_000, FREE)) @ bent)
    varies, axes = np.linalg.eigh(np.cov(points.T))
    spread = np.interp(np.linspace(0, 1, width), np.linspace(0, 1, len(SPREAD)), SPREAD)
    return (
        bent,
        points.mean(0),
        axes[:, : -width - 1 : -1] * spread / np.sqrt(varies[: -width - 1 : -1]),
    )


def known(
    specs: list[ModelSpec], catalogue: Catalogue, rng: np.random.Generator
) -> tuple[library.Library, Stack]:
    """A library with scores of every model, and a stack over it."""
    scores = {spec.ability: rng.random(ENTRIES) for spec in specs}
    demands = drawn(rng, ENTRIES, catalogue.demand)
    marks = [str(i) for i in range(ENTRIES)]
    near = library.build(catalogue.encoder, demands, marks, np.full(ENTRIES, np.nan), scores)
    weights = Weights(slope=(1.0, 0.5, 0.1, 0.1, 0.1, 0.1), shift=0.0)
    return near, Stack(catalogue.encoder, near.digest, VOTES, dict.fromkeys(scores, weights))


def route(policy: str, specs: list[ModelSpec], near: library.Library, stack: Stack) -> RouteSpec:
    names = tuple(spec.name for spec in specs)
    when: list[dict[str, Any]] = [
        {"tenant": "nobody"},
        {"keywords": ["indemnity", "liability"]},
        {"regex": ORDINARY},
        {"min_tokens": 50_000},
        {"task": OTHER_TASK},
    ]
    return RouteSpec(
        name="auto", policy=policy, models=names, default=names[-1], quality=0.9, threshold=0.7,
        rules=tuple(
            rules.compiled(schema.Rule(name=f"r{i}", when=schema.When(**each), model=names[0]))
            for i, each in enumerate(when)
        ),
        usd_per_s=0.0001, library=near, stack=stack,
    )  # fmt: skip


def call(i: int) -> Call:
    text = "Explain how a lock-free queue keeps its promise, with an example in C. " * (1 + i % 6)
    return Call(
        request_id="r", dialect="chat", model="auto", body=b"", model_span=(0, 0), stream=False,
        prompt=Prompt(user=text), needs=frozenset({"tools"}), input_tokens=len(text) // 3,
        max_output_tokens=None,
    )  # fmt: skip


def reading(rng: np.random.Generator, width: int) -> Reading:
    def spread(n: int) -> tuple[float, ...]:
        return tuple(float(p) for p in rng.dirichlet(np.ones(n)))

    # no rule holds, so that every decision is the policy's
    tasks = [
        0.0 if task == OTHER_TASK else p for task, p in zip(TASKS, spread(len(TASKS)), strict=True)
    ]
    return Reading(
        difficulty=float(rng.random()), demand=tuple(drawn(rng, 1, width)[0].tolist()),
        task_probs=tuple(tasks), domain_probs=spread(len(DOMAINS)),
        tier_probs=spread(len(TIERS)), ood=0.1, version="bench",
    )  # fmt: skip


def searched() -> dict[str, float]:
    """Milliseconds of CPU for a search, over the nastiest text found for these patterns."""
    draw = random.Random(1)
    texts = ["a" * PATTERN_CHARS, "".join(draw.choice("ab") for _ in range(PATTERN_CHARS))]
    found = {}
    for text in (*WORST, ORDINARY):
        pattern = patterns.compiled(text)
        worst = 0.0
        for each in texts:
            pattern.search(each)
            began = time.process_time()
            for _ in range(5):
                pattern.search(each)
            worst = max(worst, (time.process_time() - began) / 5)
        found[text] = round(worst * 1e3, 3)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
