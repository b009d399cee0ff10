"""A load run as a person sees it: progress while it goes on, a verdict, a report."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from sidecar.load import own, plots, verdict
from sidecar.load import report as _report
from sidecar.load.plan import Plan
from sidecar.load.run import Leg, Site, run, site_of
from sidecar.load.verdict import Summary


@dataclass(frozen=True, slots=True)
class Done:
    """A run and what it showed."""

    plan: Plan
    where: str
    when: str
    legs: tuple[Leg, ...]
    summary: Summary


async def measured(plan: Plan, url: str = "") -> Done:
    """Run ``plan`` against its target, or against a deployment of this run's own."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    if plan.target is not None:
        return await _measured(plan, site_of(plan), url or plan.target.url, when)
    async with own.deployment(plan) as (priced, site):
        return await _measured(priced, site, "a sidecar and mock models on this machine", when)


async def _measured(plan: Plan, site: Site, where: str, when: str) -> Done:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        bars: dict[str, TaskID] = {}

        def tell(leg: str, done: int, of: int) -> None:
            if leg not in bars:
                bars[leg] = progress.add_task(leg, total=of)
            progress.update(bars[leg], completed=done)

        def warn(what: str) -> None:
            progress.console.print(Text(what, "yellow"), soft_wrap=True)

        legs = await run(plan, site, tell, warn)
    return Done(plan, where, when, tuple(legs), verdict.summarise(plan, legs))


def report(done: Done, folder: Path) -> Path:
    """Write the report; without matplotlib it has no pictures and says so."""
    machine = f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    told = _report.story(done.plan, done.summary, done.where, done.when, machine)
    try:
        pictures = plots.drawn(done.summary, done.legs)
    except ImportError:
        pictures = {}
        Console(stderr=True).print(Text("No plots: they need pip install 'pointsman[plot]'"))
    return _report.write(folder, told, pictures)


def show(done: Done, page: Path) -> None:
    """The verdict on a terminal."""
    out = Console()
    table = Table(box=None, header_style="dim")
    for column in ("objective", "limit", "found", "over the rounds", ""):
        table.add_column(column, justify="left" if column == "objective" else "right")
    for v in done.summary.verdicts:
        found = "not measured" if v.found is None else f"{v.found:.4g}"
        spread = "" if v.spread is None else f"{v.spread[0]:.4g} to {v.spread[1]:.4g}"
        said = "[green]met[/green]" if v.met else "[red]missed[/red]"
        table.add_row(v.objective, f"{v.limit:g}", found, spread, said)
    out.print(table)
    for why, count in sorted(done.summary.errors.items(), key=lambda item: -item[1]):
        out.print(Text.assemble((str(count), "red"), f" failed: {why}"))
    for note in _report.doubts(done.summary):
        out.print(Text(note, "yellow"), soft_wrap=True)
    missed = [v.objective for v in done.summary.verdicts if not v.met]
    if missed:
        out.print(Text.assemble(("missed: ", "red"), ", ".join(missed)), soft_wrap=True)
    out.print(Text(f"{done.summary.requests} requests; the report: {page}"), soft_wrap=True)
