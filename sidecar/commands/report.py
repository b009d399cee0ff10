"""``sidecar report LOG``: what the router saved, from its decision log."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sidecar.commands import terminal
from sidecar.commands.terminal import plain
from sidecar.config.schema.experiments import CONTROL
from sidecar.errors import DataError

_MEASURED: Final = ("cost_usd", "chance", "score")  # of an arm, with an interval


def register(subparsers: Any) -> None:
    command = subparsers.add_parser(
        "report",
        help="savings against always-strong, from a log",
        description="Sum the file that `decision_log.file` names: what was paid, what the dearest "
        "models would have cost for the same tokens, and all that counts against the difference.",
    )
    command.add_argument("log", type=Path, nargs="+", metavar="LOG", help="rotated ones too")
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    command.add_argument(
        "--router-usd-per-hour",
        type=float,
        default=0.01,
        metavar="USD",
        help="what a sidecar costs to run, counted against the savings (0.01)",
    )
    command.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from sidecar.offline.report import summed  # noqa: PLC0415

    report = summed(_lines(args.log), args.router_usd_per_hour).as_dict()
    if not report["requests"]:
        named, bad = ", ".join(map(str, args.log)), report["bad_lines"]
        lacks = f"none of its {bad} lines is a decision" if bad else "there is no decision in it"
        raise DataError(
            f"{named}: {lacks}. Give the file that `decision_log.file` names, once requests came."
        )
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _show(report)
    return 0


def _lines(files: Sequence[Path]) -> Iterator[bytes]:
    for file in files:
        try:
            with file.open("rb") as lines:
                yield from lines
        except OSError as exc:
            raise DataError(f"Cannot read the log {file}: {exc.strerror}.") from exc


def _show(report: dict[str, Any]) -> None:
    from rich.table import Table  # noqa: PLC0415

    console = terminal.console()
    share = report["saved_share"]
    console.print(
        f"{report['requests']} requests from {_moment(report['from'])} to "
        f"{_moment(report['to'])} UTC: "
        f"[bold green]{report['saved_usd']:.4f} USD saved[/]"
        + (f" ([bold]{share:.1%}[/] of always-strong)" if share is not None else "")
    )
    sums = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, key in (
        ("always strong", "cost_strong_usd"),
        ("paid", "cost_usd"),
        ("failed attempts, assumed paid", "retries_usd"),
        ("the router itself", "router_usd"),
    ):
        sums.add_row(name, f"{report[key]:.4f} USD")
    sums.add_row("decision", f"p50 {report['decision_ms']['p50']:.2f} ms")
    sums.add_row("", f"p99 {report['decision_ms']['p99']:.2f} ms")
    for name, key in (
        ("answers of unknown cost", "unknown_cost"),
        ("requests without an answer", "failed"),
        ("lines that are no decision", "bad_lines"),
    ):
        if report[key]:
            sums.add_row(name, str(report[key]))
    console.print(sums)
    if report["scores"]:
        console.print(f"{report['scores']} scores, mean {report['score']:.3f}")
    _trials(console, report)
    for title in ("routes", "models", "tenants"):
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for column in ("", "requests", "paid USD", "always strong USD", "chance", "score",
                       "flips", "fallbacks", "failed"):  # fmt: skip
            table.add_column(column, justify="right" if column else "left")
        for name, row in report[title].items():
            table.add_row(
                plain(name),
                str(row["requests"]),
                f"{row['cost_usd']:.4f}",
                f"{row['cost_strong_usd']:.4f}",
                _said(row["chance"]),
                _said(row["score"]),
                str(sum(row["suspicious_flips"].values())),
                str(row["fallbacks"]),
                str(row["failed"]),
            )
        console.print()
        console.print(table)


def _trials(console: Any, report: dict[str, Any]) -> None:
    """Shadows, arms with their intervals, and drift, where the log has any."""
    from rich.table import Table  # noqa: PLC0415

    for name, row in report["shadows"].items():
        share, chance = row["saved_share"], row["chance"]["mean"]
        live, same = row["chance_live"]["mean"], row["same_model"]["share"]
        console.print(
            f"shadow {plain(name)}: {row['requests']} requests, "
            f"{row['shadow_usd']:.4f} in place of {row['cost_usd']:.4f} USD"
            + (f" ([bold]{share:.1%}[/] saved)" if share is not None else "")
            + (f", the same model for {same:.1%}" if same is not None else "")
            + (f", chance {chance:.3f}" if chance is not None else "")
            + (f" in place of {live:.3f}" if chance is not None and live is not None else "")
        )
        if row["undecided"]:
            console.print(
                f"  {row['undecided']} of them undecided and in no sum: there was no reading when "
                "the answer was over, or no model for it"
            )
    for route, arms in report["arms"].items():
        title = f"arms of {plain(route)} (mean and 95 % interval)"
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for column in ("", "requests", "USD a request", "chance", "score", "failed"):
            table.add_column(column, justify="right" if column else "left")
        for name, arm in arms.items():
            table.add_row(
                plain(name),
                str(arm["requests"]),
                *(_interval(arm[key]) for key in _MEASURED),
                _percents(arm["failed_share"]),
            )
        console.print()
        console.print(table)
        if CONTROL in arms and len(arms) > 1:
            console.print(_beside_control(arms))
    drift = report["drift"]
    if drift is not None:
        said = ", ".join(f"{signal} {value:.2f}" for signal, value in drift["psi"].items())
        alarm = f" [bold red]look at: {', '.join(drift['alarms'])}[/]" if drift["alarms"] else ""
        console.print(f"drift of the last {drift['window']} requests (PSI): {said}{alarm}")


def _beside_control(arms: dict[str, Any]) -> Any:
    """By how much each arm is above ``control``, as a table."""
    from rich.table import Table  # noqa: PLC0415

    title = "above control (difference and 95 % interval: with 0 in it, it may be chance)"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("", "USD a request", "chance", "score"):
        table.add_column(column, justify="right" if column else "left")
    for name, arm in arms.items():
        if name != CONTROL:
            control = arms[CONTROL]
            table.add_row(plain(name), *(_difference(arm[k], control[k]) for k in _MEASURED))
    return table


def _moment(said: str) -> str:
    return f"{datetime.fromisoformat(said).astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _said(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _difference(figure: dict[str, Any], control: dict[str, Any]) -> str:
    if figure["mean"] is None or control["mean"] is None:
        return ""
    ends = figure["against_control"]
    found = f"{figure['mean'] - control['mean']:+.4g}"
    return found + (f" ({ends[0]:+.4g} to {ends[1]:+.4g})" if ends else "")


def _percents(share: dict[str, Any]) -> str:
    if share["share"] is None:
        return ""
    low, high = share["interval"]
    return f"{share['share']:.1%} ({low:.1%} to {high:.1%})"


def _interval(figure: dict[str, Any]) -> str:
    if figure["mean"] is None:
        return ""
    ends = figure["interval"]
    return f"{figure['mean']:.4g}" + (f" ({ends[0]:.4g} to {ends[1]:.4g})" if ends else "")
