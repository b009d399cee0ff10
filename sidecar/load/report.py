"""The run's report: one page of HTML that stands alone, and the same in Markdown."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sidecar.errors import DataError
from sidecar.load.plan import Plan
from sidecar.load.run import DIRECT, ROUTED
from sidecar.load.verdict import CACHE, NONE_IN_TIME, Spread, Summary, Verdict

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1e293b; --dim: #64748b; --line: #e2e8f0;
  --page: #ffffff; --good: #0f766e; --bad: #b91c1c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e2e8f0; --dim: #94a3b8; --line: #334155;
  --page: #0f172a; --good: #5eead4; --bad: #fca5a5; } figure { background: #ffffff; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 52rem; margin: 2.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2.2rem 0 .5rem; }
.dim { color: var(--dim); } .met { color: var(--good); } .missed { color: var(--bad); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .5rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; color: var(--dim); font-size: .85rem; }
figure { margin: 1rem 0; border-radius: 8px; padding: .5rem; }
figure svg { display: block; width: 100%; height: auto; } .scroll { overflow-x: auto; }
th, td { white-space: nowrap; }
"""
_FEW: Final = 0.05  # of the decisions, that need no word


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Story:
    """What both forms of the report say."""

    verdict: str
    about: Sequence[str]
    tables: Sequence[Table]
    notes: Sequence[str] = field(default=())


def story(plan: Plan, summary: Summary, where: str, when: str, machine: str) -> Story:
    """Everything the report says, in its order."""
    missed = [v for v in summary.verdicts if not v.met]
    load = plan.load
    tables = [
        Table(
            "Objectives",
            ("objective", "limit", "found", "over the rounds", ""),
            [_verdict(v) for v in summary.verdicts],
        ),
        Table("Times, ms", ("", "count", "p50", "p90", "p99", "max"), _times(summary)),
        Table(
            "By scenario: to the first content, ms",
            (
                "scenario",
                "requests",
                "decision p50",
                "p99",
                "routed p50",
                "p99",
                "direct p50",
                "p99",
            ),
            [_scenario(name, row) for name, row in summary.scenarios.items()],
        ),
        Table("Who answered", ("model", "answers"), _counts(summary.models)),
        Table("Reasons", ("reason", "answers"), _counts(summary.reasons)),
    ]
    if summary.readings:
        counts = _counts(summary.readings)
        tables.append(Table("What decisions were read by", ("reading", "answers"), counts))
    if summary.errors:
        tables.append(Table("What failed", ("why", "requests"), _counts(summary.errors)))
    if summary.cost_usd is not None and summary.cost_strong_usd is not None:
        tables.append(
            Table(
                "Cost of what was answered, USD",
                ("routed", "always the dearest", "unknown"),
                [
                    (
                        f"{summary.cost_usd:.6f}",
                        f"{summary.cost_strong_usd:.6f}",
                        f"{summary.unpriced} answers",
                    )
                ],
            )
        )
    if summary.direct_errors:
        counts = _counts(summary.direct_errors)
        tables.append(Table("What failed of the direct requests", ("why", "requests"), counts))
    notes = list(doubts(summary))
    return Story(
        verdict=f"{len(missed)} of {len(summary.verdicts)} objectives missed"
        if missed
        else "Every objective met",
        about=(
            f"{where}, {when}",
            f"{load.rounds} rounds of {load.duration_s:g} s at {load.rate:g} requests a second "
            f"(Poisson), {summary.requests} requests, {load.stream:.0%} of them streams; "
            "latency counts from the moment at which a request was due",
            machine,
        ),
        tables=tables,
        notes=notes,
    )


def doubts(summary: Summary) -> Iterator[str]:
    """What a reader should know before believing a figure."""
    if summary.late is not None and summary.late.p99 > 5:
        yield (
            f"The load generator itself was late (p99 {summary.late.p99:.1f} ms): the machine had "
            "more to do than it could. Latencies count from the due moment and include it."
        )
    read = sum(summary.readings.values())
    if read and (cached := summary.readings.get(CACHE, 0)) > _FEW * read:
        yield (
            f"{cached / read:.0%} of the decisions rest on a reading that a cache remembered: the "
            "time to decide is theirs too. The row `decision, read by the encoder` is without them."
        )
    if read and (late := summary.readings.get(NONE_IN_TIME, 0)) > _FEW * read:
        yield (
            f"{late / read:.0%} of the decisions had no reading in time: their route's default "
            "answered, and what that took is no time of the encoder's."
        )
    if summary.without_price:
        yield (
            f"The plan's prices name no {', '.join(summary.without_price)}, which answered too: "
            "the cost is of the other models alone."
        )
    if failed := sum(summary.direct_errors.values()):
        yield (
            f"{failed} requests failed on the direct way: what is added is against those that "
            "did not."
        )


def _verdict(v: Verdict) -> tuple[str, str, str, str, str]:
    spread = "" if v.spread is None else f"{v.spread[0]:.4g} to {v.spread[1]:.4g}"
    found = "not measured" if v.found is None else f"{v.found:.4g}"
    return v.objective, f"{v.limit:g}", found, spread, "met" if v.met else "missed"


def _times(summary: Summary) -> list[Sequence[str]]:
    named = {
        "decision": summary.decision,
        "decision, read by the encoder": summary.read,
        "first content, routed": summary.first[ROUTED],
        "first content, direct": summary.first[DIRECT],
        "gap between contents, routed": summary.gap[ROUTED],
        "gap between contents, direct": summary.gap[DIRECT],
        "load generator's lateness": summary.late,
    }
    return [
        (name, str(s.count), *(f"{x:.2f}" for x in (s.p50, s.p90, s.p99, s.max)))
        for name, s in named.items()
        if s is not None
    ]


def _scenario(name: str, row: Mapping[str, Spread | None]) -> Sequence[str]:
    def pair(spread: Spread | None) -> tuple[str, str]:
        return ("", "") if spread is None else (f"{spread.p50:.1f}", f"{spread.p99:.1f}")

    routed = row[ROUTED]
    count = "0" if routed is None else str(routed.count)
    return name, count, *pair(row["decision"]), *pair(routed), *pair(row[DIRECT])


def _counts(counts: Mapping[str, int]) -> list[Sequence[str]]:
    return [(name, str(n)) for name, n in sorted(counts.items(), key=lambda item: -item[1])]


def markdown(told: Story, plots: Mapping[str, str]) -> str:
    """``plots`` is title -> file beside the report."""
    lines = [f"# {told.verdict}", "", *(f"{_plain(line)}  " for line in told.about), ""]
    lines += [f"> {_plain(note)}" for note in told.notes]
    for table in told.tables:
        lines += ["", f"## {table.title}", "", _row(table.head)]
        lines.append("| --- |" + " ---: |" * (len(table.head) - 1))
        lines += [_row(row) for row in table.rows]
    for title, file in plots.items():
        lines += ["", f"## {title}", "", f"![{title}]({file})"]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """A server's own words: as text, for Markdown takes HTML as HTML."""
    return html.escape(" ".join(text.split()), quote=False)


def page(told: Story, plots: Mapping[str, str]) -> str:
    """One HTML page without anything beside it; ``plots`` is title -> SVG."""
    css = "missed" if "missed" in told.verdict else "met"
    out = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>{html.escape(told.verdict)}</title><style>{_STYLE}</style>",
        f"<h1 class={css}>{html.escape(told.verdict)}</h1>",
        *(f"<div class=dim>{html.escape(line)}</div>" for line in told.about),
        *(f"<p>{html.escape(note)}</p>" for note in told.notes),
    ]
    for table in told.tables:
        out.append(f"<h2>{html.escape(table.title)}</h2><div class=scroll><table><tr>")
        out += [f"<th>{html.escape(cell)}</th>" for cell in table.head]
        for row in table.rows:
            marked = f" class={row[-1]}" if row[-1] in {"met", "missed"} else ""
            out.append(f"<tr{marked}>" + "".join(f"<td>{html.escape(c)}</td>" for c in row))
        out.append("</table></div>")
    for title, svg in plots.items():
        out.append(f"<h2>{html.escape(title)}</h2><figure>{svg}</figure>")
    return "\n".join(out) + "\n"


def prepare(folder: Path) -> None:
    """Make ``folder`` now: a run of minutes must not end with a report that can't be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / "report.md"
        with probe.open("a", encoding="utf-8"):
            pass
        if not probe.stat().st_size:
            probe.unlink()
    except OSError as exc:
        raise DataError(f"cannot write the report into {folder}: {exc.strerror}") from None


def write(folder: Path, told: Story, plots: Mapping[str, str]) -> Path:
    """Write ``report.html``, ``report.md`` and the plots; gives the page's path."""
    files = {title: f"{title.lower().replace(' ', '-')}.svg" for title in plots}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for title, svg in plots.items():
            (folder / files[title]).write_text(svg, encoding="utf-8")
        (folder / "report.md").write_text(markdown(told, files), encoding="utf-8")
        (folder / "report.html").write_text(page(told, plots), encoding="utf-8")
    except OSError as exc:
        raise DataError(f"cannot write the report into {folder}: {exc.strerror}") from None
    return folder / "report.html"
