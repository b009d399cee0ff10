"""``sidecar simulate SCORED.jsonl --config FILE``: what a route would have cost and kept."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from sidecar.commands import terminal
from sidecar.commands.terminal import plain
from sidecar.errors import DataError

_KEPT: Final = 0.97  # the share of always-strong's score that a suggestion keeps


def register(subparsers: Any) -> None:
    command = subparsers.add_parser(
        "simulate",
        help="replay scored prompts through a route: cost and quality kept",
        description="Replay rows {id, prompt, scores: {MODEL: 0..1}} through a route, and print "
        "what its policy and the others would have cost and kept. With --suggest, find the "
        "cheapest route that keeps --quality and write its configuration.",
    )
    command.add_argument("input", type=Path, metavar="SCORED.jsonl", help="or CSV; .gz is read too")
    command.add_argument(
        "--config", required=True, type=Path, metavar="FILE", help="the configuration, YAML"
    )
    command.add_argument("--route", metavar="NAME", help="the first, unless given")
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="the cost-quality curves")
    command.add_argument("--curves", action="store_true", help="the curves' points in the JSON")
    command.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only rows that say so, such as split=test; may be given again",
    )
    command.add_argument("--limit", type=_count, metavar="N", help="the first N of those rows")
    command.add_argument(
        "--mix",
        choices=["field"],
        help="weigh the rows by tier as the workload that published routers quote",
    )
    command.add_argument(
        "--suggest",
        action="store_true",
        help="find the cheapest route that keeps --quality, and show the evidence",
    )
    command.add_argument(
        "--quality", type=float, metavar="SHARE", help="with --suggest: what it keeps (0.97)"
    )
    command.add_argument("--output", type=Path, metavar="FILE", help="for the suggested config")
    command.add_argument(
        "--check-hit", type=_share, metavar="SHARE",
        help="of bad answers, that a cascade's check is taken to reject (0.1)",
    )  # fmt: skip
    command.add_argument(
        "--check-false-alarm", type=_share, metavar="SHARE",
        help="of good answers, that it is taken to reject too (0.01)",
    )  # fmt: skip
    command.set_defaults(func=run)


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError("must be a share from 0 to 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def run(args: argparse.Namespace) -> int:
    from dataclasses import replace  # noqa: PLC0415

    from sidecar.offline import simulate_report  # noqa: PLC0415  # the encoder takes its time
    from sidecar.offline.session import need_folder, need_matplotlib, save_figure  # noqa: PLC0415
    from sidecar.offline.simulate import Check  # noqa: PLC0415
    from sidecar.offline.simulate_rows import conditions  # noqa: PLC0415
    from sidecar.offline.simulate_setup import mixed, prepare, study  # noqa: PLC0415

    for option in ("quality", "output"):
        if not args.suggest and getattr(args, option) is not None:
            raise DataError(f"--{option} is of --suggest: a route is simulated as it is configured")
    need_folder(args.output)
    need_folder(args.plot)
    if args.plot:
        need_matplotlib()
    where = conditions(args.where)
    setup = prepare(args.input, args.config, args.route, where=where, limit=args.limit)
    if args.mix:
        setup = replace(setup, cases=mixed(setup.cases))
    rates = {"hit": args.check_hit, "false_alarm": args.check_false_alarm}
    played = study(setup, Check(**{name: rate for name, rate in rates.items() if rate is not None}))
    if args.suggest:
        return _suggest(args, setup, played)
    found = simulate_report.report(played, setup)
    if args.mix:
        found |= simulate_report.beside_the_field(setup.cases) | {"mix": args.mix}
    if args.plot or args.curves:
        lines = simulate_report.curves(played)
        found["curves"] = lines
        if args.plot:
            save_figure(simulate_report.plot(found, lines), args.plot)
    if args.json:
        print(json.dumps(found))
    else:
        show(found)
    return 0


def _suggest(args: argparse.Namespace, setup: Any, played: Any) -> int:
    from sidecar.offline.simulate_suggest import suggest, written  # noqa: PLC0415

    found = suggest(played, _KEPT if args.quality is None else args.quality)
    text = written(found, args.config, setup.route.name, args.output)
    if args.output is not None:
        try:
            args.output.write_text(text, encoding="utf-8")
        except OSError as exc:
            raise DataError(f"can't write {args.output}: {exc.strerror}") from exc
        print(f"{args.output}: written", file=sys.stderr)
    if args.json:
        print(json.dumps(found.evidence | {"config": text}))
    elif args.output is None:
        print(text, end="")
    else:
        print(found.sentence)
    return 0


def show(found: dict[str, Any]) -> None:
    """The figures as tables for a person."""
    from rich.table import Table  # noqa: PLC0415

    from sidecar.offline.simulate_report import PUBLISHED  # noqa: PLC0415

    console = terminal.console()
    skipped = ", ".join(f"{n:,} {why}" for why, n in found["skipped"].items() if n)
    console.print(
        f"[bold]{found['route']}[/] over {found['rows']:,} rows"
        + (f" (left out: {skipped})" if skipped else "")
    )
    models = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("model", "ability", "its scores"):
        models.add_column(title)
    for title in ("mean score", "USD / 1,000"):
        models.add_column(title, justify="right")
    for name, model in found["models"].items():
        models.add_row(
            name, model["ability"], plain(model["scores"] or "-"),
            f"{model['mean_score']:.3f}", f"{model['mean_cost_usd'] * 1000:.3f}",
        )  # fmt: skip
    console.print(models)
    console.print()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("", "USD / 1,000", "mean score", "quality kept", "cost cut", "decision p50, p99"):
        table.add_column(title, justify="right" if title else "left", no_wrap=not title)
    for name, figures in found["policies"].items():
        mark = "[bold green]" if name == found["policy"] else ""
        us = figures.get("decide_us")
        table.add_row(
            f"{mark}{name}",
            f"{figures['cost_usd'] / found['rows'] * 1000:.3f}",
            f"{figures['quality']:.3f}",
            _percent(figures["retention"]),
            _percent(figures["cost_cut"]),
            f"{us['p50']:.0f}, {us['p99']:.0f} us" if us else "",
        )
    if found.get("mix"):
        table.add_section()
        for name, kept, cut in PUBLISHED:
            table.add_row(f"published: {name}", "", "", _percent(kept), _percent(cut), "")
    console.print(table)
    console.print(
        f"\nkept and cut against always {found['strong']}; rules: {found['rules']}; "
        f"answers' lengths: {found['lengths']}; encoder {found['encoder']}"
    )
    cascade = found["policies"].get("cascade")
    if cascade is not None:
        check = found["check"]
        console.print(
            f"cascade: its check is taken to reject {check['hit']:.0%} of bad answers and "
            f"{check['false_alarm']:.0%} of good ones (--check-hit, --check-false-alarm); "
            f"{cascade.get('asked_twice', 0.0):.1%} of the requests are paid for twice"
        )
    if found.get("mix"):
        console.print(found["comparable"])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
