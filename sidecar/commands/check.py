"""``sidecar check FILE``: is this configuration good, and what will its routes do?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sidecar.commands import terminal

if TYPE_CHECKING:
    from sidecar.config.schema import Budget
    from sidecar.config.snapshot import ModelSpec, RouteSpec, Snapshot

_TITLES: Final = ("route", "policy", "keeps", "models, cheapest first", "default", "limits")


def register(subparsers: Any) -> None:
    command = subparsers.add_parser(
        "check",
        help="check a configuration: exit 0, or 2 with one line per fault",
        description="Exit 0 and say what each route will do, or exit 2 and name every fault with "
        "its file, line and key.",
    )
    command.add_argument("file", type=Path, metavar="FILE", help="the configuration, YAML")
    command.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from sidecar.app import load  # noqa: PLC0415

    snapshot = load(args.file).snapshot
    for warning in snapshot.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    models, routes = len(snapshot.models), len(snapshot.routes)
    print(f"{args.file}: good: {models} models, {routes} routes, hash {snapshot.digest}")
    if routes:
        _show(snapshot)
    return 0


def _show(snapshot: Snapshot) -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = terminal.console()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in _TITLES:
        table.add_column(title, overflow="fold")
    for row in described(snapshot):
        table.add_row(*map(Text, row))
    console.print()
    console.print(table)
    console.print("\nprices: USD per million tokens of input/output")


def described(snapshot: Snapshot) -> Iterator[tuple[str, ...]]:
    """What each route will do, in words under :data:`_TITLES`; an arm of a split is a row."""
    for route in snapshot.routes.values():
        yield _row(route, snapshot, route.name)
        taken = 0.0
        for arm in route.arms:
            yield _row(arm.route, snapshot, f"  arm {arm.name}, {arm.upto - taken:.0%}")
            taken = arm.upto


def _row(route: RouteSpec, snapshot: Snapshot, name: str) -> tuple[str, ...]:
    listed = [snapshot.models[model] for model in route.models]
    by_price = sorted(listed, key=lambda spec: (spec.price.output, spec.price.input))
    rules = f", rules first: {len(route.rules)}" if route.rules and route.policy != "rules" else ""
    return (
        name,
        route.policy + rules,
        _floor(route),
        ", ".join(map(_priced, by_price)),
        route.default,
        "\n".join(_limits(route, snapshot.config.budgets)) or "-",
    )


def _priced(spec: ModelSpec) -> str:
    return f"{spec.name} {spec.price.input:g}/{spec.price.output:g}"


def _floor(route: RouteSpec) -> str:
    if route.policy == "fixed":
        return "always the default"
    if route.policy == "rules":
        return f"by {len(route.rules)} rules, else the default"
    if route.policy == "threshold":
        return f"a chance of {route.threshold:g}"
    kept = f"{route.quality:.4g} of the best chance"
    if route.worth_usd is not None:
        kept = f"what {route.worth_usd:g} USD an answer is worth"
    if route.policy == "cascade":
        tries = route.cascade
        return f"{kept}; a try from {tries.try_above:g} of it, for {tries.max_overhead:.0%} more"
    return kept


def _limits(route: RouteSpec, budgets: Mapping[str, Budget]) -> Iterator[str]:
    if route.max_cost_usd is not None:
        yield f"{route.max_cost_usd:g} USD a request"
    for name, budget in budgets.items():
        if budget.per == "route" and budget.only and route.name not in budget.only:
            continue
        amounts = [f"{budget.usd:g} USD"] if budget.usd is not None else []
        amounts += [f"{budget.tokens:,} tokens"] if budget.tokens is not None else []
        whose = "" if budget.per == "all" else f" per {budget.per}"
        if budget.only and budget.per != "route":
            whose = f" for {budget.per} {', '.join(budget.only)}"
        yield f"{name}: {' and '.join(amounts)} a {budget.period}{whose}, then {budget.at_limit}"
