"""The demo's bill: what was decided, what it cost, what it saved.

Every figure is counted from the answers that came: tokens from their usage,
models and decision times from their headers, prices from the configuration that
was running. "Always strong" is the same tokens at the dearest model's price.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console, Group
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from sidecar.demo.site import Site
from sidecar.demo.traffic import Result

_BAR: Final = 20  # cells of a full share
_ANY: Final = 10_000  # columns
_SAID: Final = 48  # of an example besides its model: enough of the prompt, difficulty, reason
_NOTE: Final = (
    "The models are mocks on 127.0.0.1: routing, tokens, bill and latency are real, the "
    "answers are not. With --keep it all stays up for a client of your own."
)
_MANY_LATE: Final = 0.1  # of the requests: then the table shows the machine
_REASONS: Final = {
    "policy": "the cheapest that is likely to suffice",
    "capability": "the only one with what it needs",
    "deadline": "no reading in time: the default",
    "classifier-down": "no classifier: the default",
    "default": "nothing to read: the default",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One model's part of the traffic."""

    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Example:
    """One decision, with how hard the encoder finds its prompt."""

    said: str
    difficulty: float
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Summary:
    """All that a run showed."""

    requests: int
    faults: tuple[tuple[str, str], ...]  # (request id, what was wrong)
    lines: tuple[Line, ...]  # cheapest first
    reasons: tuple[tuple[str, int], ...]
    strongest: str
    cost_usd: float
    cost_always_strong_usd: float
    p50_ms: float | None
    p99_ms: float | None
    seconds: float
    backend: str

    @property
    def saving(self) -> float:
        """The share of the always-strong cost that was not spent."""
        full = self.cost_always_strong_usd
        return 1 - self.cost_usd / full if full else 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "errors": len(self.faults),
            "models": {line.model: line.requests for line in self.lines},
            "reasons": dict(self.reasons),
            "cost_usd": round(self.cost_usd, 9),
            "cost_always_strong_usd": round(self.cost_always_strong_usd, 9),
            "saving": round(self.saving, 4),
            "decision_ms": {"p50": self.p50_ms, "p99": self.p99_ms},
            "seconds": round(self.seconds, 3),
            "backend": self.backend,
        }


def summarise(results: Sequence[Result], site: Site, seconds: float, backend: str) -> Summary:
    """Count everything up. A request that failed costs nothing here and is no model's."""
    good = [result for result in results if not result.error]
    lines = []
    for name in sorted(site.prices, key=lambda name: site.prices[name].output):
        own = [result for result in good if result.model == name]
        lines.append(
            Line(
                model=name,
                requests=len(own),
                input_tokens=sum(result.input_tokens for result in own),
                output_tokens=sum(result.output_tokens for result in own),
                cost_usd=sum(_cost(result, site, name) for result in own),
            )
        )
    took = sorted(result.decision_ms for result in results if result.decision_ms is not None)
    return Summary(
        requests=len(results),
        faults=tuple((result.ask.id, result.error) for result in results if result.error),
        lines=tuple(lines),
        reasons=tuple(Counter(result.reason for result in good).most_common()),
        strongest=site.strongest,
        cost_usd=sum(line.cost_usd for line in lines),
        cost_always_strong_usd=sum(_cost(result, site, site.strongest) for result in good),
        p50_ms=percentile(took, 0.50),
        p99_ms=percentile(took, 0.99),
        seconds=seconds,
        backend=backend,
    )


def _cost(result: Result, site: Site, model: str) -> float:
    price = site.prices[model]
    return price.of(result.input_tokens, result.cached_tokens, result.output_tokens)


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile of values in ascending order; None of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def render(console: Console, summary: Summary, examples: Sequence[Example], site: Site) -> None:
    """The report, for a person."""
    console.print()
    console.print(_models(console, summary, site))
    console.print()
    console.print(_figures(summary))
    late = dict(summary.reasons).get("deadline", 0)
    if late > _MANY_LATE * summary.requests:
        console.print()
        console.print(Text(_late(late, summary.requests), style="yellow"))
    if examples:
        console.print()
        console.print(_examples(examples, console.width))
    if summary.faults:
        console.print()
        console.print(_faults(summary))
    console.print()
    console.print(Text(_NOTE, style="dim"))


def _late(late: int, requests: int) -> str:
    return (
        f"{late / requests:.0%} of the requests had no reading in time and went to the default, "
        "the dearest model: this machine is busy, or slow to wake between requests, and that "
        "takes from the savings. Try again when nothing else runs; in a configuration of your "
        "own, classifier.deadline_ms says how long a reading is waited for."
    )


def _models(console: Console, summary: Summary, site: Site) -> Table:
    """The fullest table that fits: bars shrink first, then prices go, then tokens."""
    tables = [
        _models_table(summary, site, bar, prices, tokens)
        for bar, prices, tokens in (
            *((cells, True, True) for cells in range(_BAR, -1, -1)),
            (0, False, True),
            (0, False, False),
        )
    ]
    fits = (table for table in tables if _width(console, table) <= console.width)
    return next(fits, tables[-1])


def _width(console: Console, table: Table) -> int:
    # asked as if there were room for anything, for else it says what it would cut itself to
    return Measurement.get(console, console.options.update(width=_ANY), table).maximum


def _models_table(summary: Summary, site: Site, bar: int, prices: bool, tokens: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("model", no_wrap=True)
    heads = [*(["$/M in", "$/M out"] if prices else []), "requests", "share"]
    heads += ["tokens"] if tokens else []
    for name in (*heads, "cost"):
        table.add_column(name, justify="left" if name == "share" else "right", no_wrap=True)
    answered = sum(line.requests for line in summary.lines) or 1
    digits = _digits([line.cost_usd for line in summary.lines])
    for line in summary.lines:
        price = site.prices[line.model]
        share = line.requests / answered
        cells: list[str | Text] = [line.model]
        cells += [f"{price.input:.2f}", f"{price.output:.2f}"] if prices else []
        filled = "█" * round(share * bar)
        cells += [str(line.requests), Text.assemble((filled, "cyan"), f" {share:.0%}")]
        cells += [f"{line.input_tokens + line.output_tokens:,}"] if tokens else []
        table.add_row(*cells, _usd(line.cost_usd, digits))
    return table


def _figures(summary: Summary) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    digits = _digits([summary.cost_usd, summary.cost_always_strong_usd])
    table.add_row("cost", _usd(summary.cost_usd, digits))
    always = (
        f"{_usd(summary.cost_always_strong_usd, digits)}  (the same tokens at {summary.strongest})"
    )
    table.add_row("always strong", always)
    table.add_row("saved", Text(f"{summary.saving:.1%}", style="bold green"))
    if summary.p50_ms is not None and summary.p99_ms is not None:
        took = f"p50 {summary.p50_ms:.2f} ms   p99 {summary.p99_ms:.2f} ms"
        table.add_row("decision", f"{took}   on {summary.backend}")
    table.add_row("requests", f"{summary.requests} in {summary.seconds:.1f} s")
    for i, (name, count) in enumerate(summary.reasons):
        said = Text.assemble(f"{count:>4}  {name:<16}", (_REASONS.get(name, ""), "dim"))
        table.add_row("" if i else "decided by", said)
    bad = len(summary.faults)
    table.add_row("errors", Text(str(bad), style="bold red" if bad else "green"))
    return table


def _examples(examples: Sequence[Example], width: int) -> Table:
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", width=min(width, 110)
    )
    table.add_column("some decisions, easy to hard", no_wrap=True, overflow="ellipsis", ratio=1)
    names = max(len(example.model) for example in examples)
    narrow = width < _SAID + names
    if not narrow:
        table.add_column("difficulty", justify="right", no_wrap=True)
    table.add_column("model", no_wrap=True, min_width=names)
    if not narrow:
        table.add_column("reason", no_wrap=True, min_width=10)
    for example in examples:
        told = (f"{example.difficulty:.2f}", example.model, example.reason)
        table.add_row(Text(example.said), *(told[1:2] if narrow else told))
    return table


def _faults(summary: Summary) -> Group:
    shown = [Text(f"  {who}: {what}", style="red") for who, what in summary.faults[:10]]
    more = len(summary.faults) - len(shown)
    if more:
        shown.append(Text(f"  and {more} more", style="red"))
    return Group(Text("errors", style="bold red"), *shown)


def _digits(values: Sequence[float]) -> int:
    """Four decimals, or six where the least of some amounts would show as nothing."""
    return 6 if any(0 < value < 0.00005 for value in values) else 4


def _usd(value: float, digits: int) -> str:
    return f"${value:.{digits}f}"
