"""The cheapest route that keeps the quality asked for, with the evidence.

Every policy that the route has what it takes for, over all of its models and over each
pair of them, is swept over its settings on one half of the rows; the cheapest that
keeps the share of always-strong's mean score is then replayed once on the other half,
which nothing was chosen by. That, with an interval by the bootstrap, is the evidence.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from sidecar.config import yamlfile
from sidecar.config.snapshot import RouteSpec
from sidecar.errors import DataError
from sidecar.offline.session import track
from sidecar.offline.simulate import KNOBS, Played, Study, settings_of, turned, variants

LEAST_ROWS: Final = 100  # a half of fewer says nothing
_POINTS: Final = 15
_DRAWS: Final = 1000
_MOST_PAIRS: Final = 10
# What is tried. Not a bandit, which will not stay as it is simulated, and not a cascade,
# whose figures rest on what is assumed of its check.
SUGGESTED: Final = ("cost_quality", "threshold", "similarity", "ensemble")
# Keys whose files are looked for beside the configuration that names them.
BESIDE: Final = (
    ("abilities",),
    ("prices", "file"),
    ("decision_cache", "common"),
    ("learning", "file"),
    ("spending", "file"),
    ("drift", "reference"),
    ("routes", "*", "similarity", "library"),
    ("routes", "*", "ensemble", "file"),
)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A route, and what it did on rows it was not chosen by."""

    route: RouteSpec
    evidence: dict[str, Any]

    @property
    def sentence(self) -> str:
        held = self.evidence["held_out"]
        low, high = held["retention_95"]
        return (
            f"{self.evidence['policy']} over {', '.join(self.evidence['models'])} keeps "
            f"{held['retention']:.1%} (95 %: {low:.1%} to {high:.1%}) of always "
            f"{self.evidence['strong']}'s mean score at {held['cost_cut']:.1%} less cost, "
            f"on {held['rows']:,} rows that it was not chosen by"
        )


def suggest(study: Study, quality: float) -> Suggestion:
    """The cheapest that keeps ``quality`` of always-strong. Raises DataError."""
    if not 0 < quality <= 1:
        raise DataError(f"--quality is a share over 0 and up to 1, not {quality:g}")
    choosing, holding = halves(study)
    if min(len(choosing.cases), len(holding.cases)) < LEAST_ROWS:
        raise DataError(f"--suggest needs at least {2 * LEAST_ROWS} rows, not {len(study.cases)}")
    if not all(half.scores[:, half.strong].any() for half in (choosing, holding)):
        strong = study.models[study.strong].name
        raise DataError(f"{strong} scores 0 on all of these rows: it has no quality to keep")
    wanted = quality * choosing.mean(choosing.scores[:, choosing.strong])
    tried = [
        (subset, route, setting)
        for subset in subsets(study)
        for route in variants(subset, study.snapshot).values()
        if route.policy in SUGGESTED
        for setting in settings_of(study, route, _POINTS)
    ]
    best: tuple[float, RouteSpec] | None = None
    most = 0.0
    for _, route, setting in track(tried, "trying", len(tried)):
        turn = turned(route, float(f"{setting:.4g}"))
        played = choosing.play(turn)
        cost, score = choosing.mean(played.cost), choosing.mean(played.score)
        most = max(most, score)
        if score >= wanted and (best is None or cost < best[0]):
            best = (cost, turn)
    if best is None:
        kept = most / wanted * quality
        raise DataError(
            f"of {len(tried)} routes that were tried none keeps {quality:.1%} of always "
            f"{study.models[study.strong].name}'s mean score: the most is {kept:.2%}. "
            "Ask for less, or give the route other models"
        )
    route = best[1]
    models = [study.models[i].name for i in range(len(study.models))]
    return Suggestion(
        route,
        {
            "asked": quality,
            "policy": route.policy,
            "setting": {KNOBS[route.policy]: getattr(route, KNOBS[route.policy])},
            "models": list(route.models),
            "strong": models[study.strong],
            "tried": len(tried),
            "chosen_on": figures(choosing, choosing.play(route)),
            "held_out": figures(holding, holding.play(route)),
        },
    )


def halves(study: Study) -> tuple[Study, Study]:
    """Two halves of the cases by a hash of their ids: the same ones every time."""
    first = np.array(
        [hashlib.blake2b(str(case.id).encode()).digest()[0] % 2 == 0 for case in study.cases]
    )
    return study.only(first), study.only(~first)


def subsets(study: Study) -> list[RouteSpec]:
    """The route over all of its models, and over pairs of a cheaper and a dearer one."""
    route = study.route
    price = {m.name: m.price.output for m in study.models}
    pairs = itertools.combinations(sorted(route.models, key=price.__getitem__), 2)
    found = [route]
    if len(route.models) > 2:
        top = max(route.models, key=price.__getitem__)
        kept = sorted(pairs, key=lambda pair: pair[1] != top)[:_MOST_PAIRS]
        found += [
            replace(route, models=tuple(m for m in route.models if m in pair)) for pair in kept
        ]
    return found


def figures(study: Study, played: Played, seed: int = 0) -> dict[str, Any]:
    """Cost and quality of one strategy with the bootstrap's 95 % interval of what it keeps."""
    strong = study.scores[:, study.strong]
    cost = study.mean(played.cost)
    all_strong = study.mean(study.costs[:, study.strong])
    low, high = _interval(study.weights, played.score, strong, seed)
    return {
        "rows": len(study.cases),
        "quality": study.mean(played.score),
        "retention": study.mean(played.score) / study.mean(strong),
        "retention_95": [low, high],
        "cost_usd": cost * len(study.cases),
        "cost_cut": 1 - cost / all_strong if all_strong else 0.0,
        "models": {name: round(share, 4) for name, share in played.models.items() if share},
    }


def _interval(
    weights: NDArray[np.float64],
    score: NDArray[np.float64],
    strong: NDArray[np.float64],
    seed: int,
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(_DRAWS):
        at = rng.integers(0, len(score), len(score))
        share = weights[at]
        below = float(share @ strong[at])
        drawn.append(float(share @ score[at]) / below if below else 1.0)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def written(found: Suggestion, config: Path, route: str, output: Path | None = None) -> str:
    """The configuration with that route in the place of ``route``, the evidence above it.

    Comments of the file do not survive: it is for reading and copying from. Files that it
    names beside itself are named from ``output``, where it is to be written.
    """
    document = dict(yamlfile.load(config).value)
    if output is not None and output.parent.resolve() != config.parent.resolve():
        document = _moved(document, BESIDE, config.parent.resolve(), output.parent.resolve())
    section = dict(document["routes"][route])
    knob = KNOBS[found.route.policy]
    for key in ("quality", "threshold", "worth_usd"):
        section.pop(key, None)
    section |= {
        "policy": found.route.policy,
        "models": list(found.route.models),
        knob: getattr(found.route, knob),
    }
    document["routes"] = dict(document["routes"]) | {route: section}
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    return f"# `sidecar simulate --suggest` on {config.name}: {found.sentence}.\n{text}"


def _moved(section: Any, keys: tuple[tuple[str, ...], ...], here: Path, there: Path) -> Any:
    """``section`` of a configuration in ``here``, as one in ``there`` would say it.

    ``keys`` lead to the names of files; ``*`` is every key.
    """
    if not isinstance(section, dict):
        return section
    found = dict(section)
    for first, *rest in keys:
        for key in found if first == "*" else {first} & found.keys():
            if rest:
                found[key] = _moved(found[key], (tuple(rest),), here, there)
            elif isinstance(found[key], str) and not Path(found[key]).is_absolute():
                found[key] = os.path.relpath(here / found[key], there)
    return found
