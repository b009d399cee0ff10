"""Routes, compiled: every name they use is known, every file they name is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sidecar import library, stack
from sidecar.config import rules, schema
from sidecar.config.faults import hint
from sidecar.config.snapshot import RouteSpec, RuleSpec
from sidecar.config.yamlfile import Key
from sidecar.dialects.base import CAPABILITIES
from sidecar.errors import DataError
from sidecar.types import DOMAINS, TASKS, TIERS

_LABELS: Final = (("task", TASKS), ("domain", DOMAINS), ("tier", TIERS), ("needs", CAPABILITIES))

Fault = tuple[Key, str]


def compile_route(
    name: str,
    route: schema.Route,
    *,
    folder: Path,
    encoder: str,
    unfitted: bool,
    shelf: library.Shelf,
) -> RouteSpec | list[Fault]:
    """The route, or what is wrong with its rules and files, by keys inside of it.

    Files are beside the configuration, in ``folder``, and made with ``encoder``; those of
    an ``unfitted`` ensemble need not be there yet. Libraries that are on the ``shelf`` are
    taken from there.
    """
    faults: list[Fault] = []
    found: list[RuleSpec] = []
    if route.policy == "rules" and not route.rules:
        faults.append((("rules",), "is required by the policy `rules`"))
    for i, rule in enumerate(route.rules):
        faults += [(("rules", i, "when", *key), said) for key, said in _unknown(rule.when)]
        found.append(rules.compiled(rule))
    near = stacked = None
    try:
        where: Key = ("similarity", "library")
        if route.similarity.library is not None:
            near = shelf.load(folder / route.similarity.library, encoder)
        elif route.policy == "similarity":
            faults.append((where, "is required by the policy `similarity`"))
        where = ("ensemble", "file")
        if unfitted:
            pass
        elif route.ensemble.file is not None:
            voted = near.digest if near else ""
            stacked = stack.load(folder / route.ensemble.file, encoder, voted)
        elif route.policy == "ensemble":
            faults.append((where, "is required by the policy `ensemble`"))
    except DataError as exc:
        faults.append((where, str(exc)))
    if faults:
        return faults
    return RouteSpec(
        name=name,
        policy=route.policy,
        models=route.models,
        default=route.default,
        quality=route.quality,
        threshold=route.threshold,
        rules=tuple(found),
        max_cost_usd=route.max_cost_usd,
        usd_per_s=route.usd_per_s,
        worth_usd=route.worth_usd,
        similarity=route.similarity,
        library=near,
        stack=stacked,
        cascade=route.cascade,
        response_cache=route.response_cache,
    )


def misnamed(route: schema.Route, models: dict[str, schema.Model]) -> Iterator[Fault]:
    """Models that are not configured, and rules of one name."""
    named: list[tuple[Key, str]] = [(("default",), route.default)]
    named += [(("models", i), model) for i, model in enumerate(route.models)]
    named += [(("rules", i, "model"), rule.model) for i, rule in enumerate(route.rules)]
    for where, model in named:
        if model not in models:
            yield where, f"no model is called {model!r}{hint(model, models)}"
    seen: set[str] = set()
    for i, rule in enumerate(route.rules):
        if rule.name in seen:
            yield ("rules", i, "name"), f"a rule before it is called {rule.name!r}"
        seen.add(rule.name)


def _unknown(when: schema.When) -> Iterator[Fault]:
    for field, known in _LABELS:
        for label in getattr(when, field):
            if label not in known:
                yield (field,), f"{label!r} is unknown; use {', '.join(known)}"
