"""What a simulation found, as JSON-able values and as a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from sidecar.offline.session import track
from sidecar.offline.simulate import (
    BASELINES,
    KNOBS,
    Study,
    settings_of,
    turned,
    variants,
)
from sidecar.offline.simulate_rows import Case
from sidecar.offline.simulate_setup import FIELD_MIX, SUMMARIES, Setup, kinds_of

# (what, quality kept, cost cut): as vendors and papers quote them for the mix above, on
# their own data, prices and judges. They are printed beside ours to be seen, not compared.
PUBLISHED: Final = (
    ("rule-based", 0.94, 0.76),
    ("classifier", 0.96, 0.83),
    ("learned policy", 0.97, 0.86),
    ("ensemble", 0.98, 0.88),
)
POINTS: Final = 11  # of a curve


def report(study: Study, setup: Setup) -> dict[str, Any]:
    """Every figure of ``sidecar simulate`` but the curves."""
    passed = setup.passed
    policies: dict[str, Any] = {}
    routes = variants(study.route, study.snapshot)
    for name, route in routes.items():
        watch = partial(track, title=f"deciding: {name}", total=len(study.cases))
        policies[name] = study.figures(study.play(route, watch))
    for name in BASELINES:
        policies[name] = study.figures(study.baseline(name))
    return {
        "route": study.route.name,
        "policy": study.route.policy,
        "rows": len(study.cases),
        "skipped": {
            "without a score of every model": passed.unscored,
            "not asked for": passed.elsewhere,
            "in the route's library": passed.known,
            "faulty": passed.bad,
        },
        "models": {
            model.name: {
                "ability": model.ability,
                "scores": passed.keys.get(model.name),
                "mean_score": study.mean(study.scores[:, i]),
                "mean_cost_usd": study.mean(study.costs[:, i]),
            }
            for i, model in enumerate(study.models)
        },
        "strong": study.models[study.strong].name,
        "weak": study.models[study.weak].name,
        "rules": "the route's own" if study.route.rules else "stand-ins: length and words",
        "lengths": "the rows'" if any(c.output_tokens for c in study.cases) else "as expected",
        "check": {"hit": study.check.hit, "false_alarm": study.check.false_alarm},
        "encoder": setup.session.encoder.version,
        "policies": policies,
    }


def beside_the_field(cases: Sequence[Case]) -> dict[str, Any]:
    """What stands beside the figures of the field's mix, and how far it can be compared."""
    kinds = Counter(kinds_of(cases))
    rows = ", ".join(f"{kinds[tier]:,} rows for {share:.0%}" for tier, share in FIELD_MIX.items())
    middle = "summaries"
    if not any(case.labels.get("task") == SUMMARIES for case in cases):
        middle = (
            "questions of tier moderate, which stand in for summaries: "
            f"no row here says `task: {SUMMARIES}`"
        )
    return {
        "published": [
            {"name": name, "retention": kept, "cost_cut": cut} for name, kept, cut in PUBLISHED
        ],
        "comparable": (
            f"The mix: simple questions, summaries and complex reasoning ({rows}). "
            f"The second are {middle}. Comparable with the published rows is how much of the "
            "dearest model's quality is kept at which cut of its cost. Not comparable are the "
            "prompts, the models and their prices, and who judged the answers: those are others'."
        ),
    }


def curves(study: Study, points: int = POINTS) -> dict[str, list[dict[str, float]]]:
    """By policy that has a knob, mean cost and mean score over its settings."""
    found = {}
    for name, route in variants(study.route, study.snapshot).items():
        if name not in KNOBS:
            continue
        line = []
        settings = settings_of(study, route, points)
        for setting in track(settings, f"curve: {name}", len(settings)):
            played = study.play(turned(route, setting))
            line.append(
                {
                    "setting": setting,
                    "cost_usd": study.mean(played.cost),
                    "quality": study.mean(played.score),
                }
            )
        found[name] = line
    return found


def at_cost(line: list[dict[str, float]], study: Study, cost: float) -> float:
    """The mean score of a policy at a mean cost [USD], drawn between settings beside it.

    A draw between two settings costs and scores as the line between them, so the upper
    hull of the points, and of always-weak and always-strong, can be had.
    """
    ends = [
        (study.mean(study.costs[:, i]), study.mean(study.scores[:, i]))
        for i in (study.weak, study.strong)
    ]
    return along([(point["cost_usd"], point["quality"]) for point in line] + ends, cost)


def along(points: list[tuple[float, float]], cost: float) -> float:
    """The most quality that draws between ``points`` (cost, quality) give at ``cost``."""
    hull: list[tuple[float, float]] = []
    for point in sorted(set(points)):
        while len(hull) > 1 and _below(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    costs, scores = zip(*hull, strict=True)
    return float(np.interp(cost, costs, np.maximum.accumulate(scores)))


def _below(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def plot(found: Mapping[str, Any], lines: Mapping[str, list[dict[str, float]]]) -> Any:
    """A figure: the cost-quality curve of each policy, beside those that need none."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    rows = found["rows"]
    for name, line in lines.items():
        axes.plot(
            [p["cost_usd"] * 1000 for p in line],
            [p["quality"] for p in line],
            "o-",
            markersize=3,
            label=name,
        )
    marks = {"always_weak": "v", "always_strong": "^", "oracle": "*", "random": "x", "rules": "s"}
    ends = []
    for name, mark in marks.items():
        figures = found["policies"].get(name)
        if figures is None:
            continue
        at = (figures["cost_usd"] / rows * 1000, figures["quality"])
        axes.plot(*at, mark, color="black", label=name)
        if name in ("always_weak", "always_strong"):
            ends.append(at)
    axes.plot(*zip(*ends, strict=True), "--", color="grey", label="drawn between the two")
    here = found["policies"][found["policy"]]
    axes.plot(
        here["cost_usd"] / rows * 1000,
        here["quality"],
        "o",
        markersize=11,
        fillstyle="none",
        color="red",
        label=f"as configured: {found['policy']}",
    )
    axes.set(
        xlabel="USD for 1,000 requests",
        ylabel="mean score",
        title=f"route {found['route']}, {rows:,} rows",
    )
    axes.legend(fontsize="small")
    return figure
