"""``sidecar eval SCORED.jsonl --weak A --strong B``: is the router worth having?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sidecar.commands import terminal
from sidecar.commands.terminal import plain


def register(subparsers: Any) -> None:
    command = subparsers.add_parser(
        "eval",
        help="AUC, calibration and the cost-quality curve of a pair of models",
        description="Judge the router on rows {id, prompt, scores: {A: 0..1, B: 0..1}}: how well "
        "it ranks who needs B (AUC), how true its chances are (ECE), how much of the gap between A "
        "and B it recovers on the mean (APGR), and which share of calls to B recovers 50 and 80 "
        "percent of it (CPT50, CPT80).",
    )
    command.add_argument(
        "input",
        type=Path,
        metavar="SCORED.jsonl",
        help="a JSON object a line, or CSV; .gz is read too",
    )
    command.add_argument("--weak", required=True, metavar="A", help="the cheap model's name there")
    command.add_argument("--strong", required=True, metavar="B", help="the dear one's")
    command.add_argument("--abilities", type=Path, metavar="FILE", help="what `sidecar fit` wrote")
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="the cost-quality curve")
    command.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    import json  # noqa: PLC0415

    from sidecar.offline.evaluate import Judged, evaluate, plot  # noqa: PLC0415
    from sidecar.offline.session import (  # noqa: PLC0415
        Session,
        need_folder,
        need_matplotlib,
        pair,
        save_figure,
    )

    need_folder(args.plot)
    if args.plot:
        need_matplotlib()
    session = Session(args.abilities)
    both = pair(session, args.input, args.weak, args.strong)
    judged = Judged(
        both.weak, both.strong, both.rank, both.weak_probability, both.strong_probability
    )
    found = evaluate(judged)
    found |= {
        "weak": args.weak,
        "strong": args.strong,
        "ranked_by": both.ranked_by,
        "encoder": session.encoder.version,
    }
    if args.plot:
        save_figure(plot(judged, f"{args.weak} and {args.strong}"), args.plot)
    if args.json:
        print(json.dumps(found))
    else:
        show(found)
    return 0


def show(found: dict[str, Any]) -> None:
    """The figures as tables for a person."""
    from rich.table import Table  # noqa: PLC0415

    console = terminal.console()
    console.print(
        f"{found['rows']} rows: {plain(found['weak'])} scores {found['weak_mean']:.3f}, "
        f"{plain(found['strong'])} {found['strong_mean']:.3f}; "
        f"{found['needs_strong']:.1%} need the strong model"
    )
    console.print(f"ranked by {plain(found['ranked_by'])}")
    table = Table("", "AUC", "ECE", "APGR", "CPT50", "CPT80")
    base = found["baselines"]

    def cell(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    table.add_row(
        "router",
        *map(cell, (found["auc"], found["ece"], found["apgr"], found["cpt50"], found["cpt80"])),
    )
    table.add_row(
        "random", cell(0.5), "-", *(cell(base["random"][k]) for k in ("apgr", "cpt50", "cpt80"))
    )
    table.add_row(
        "oracle", "-", "-", *(cell(base["oracle"][k]) for k in ("apgr", "cpt50", "cpt80"))
    )
    console.print(table)
    table = Table("calls to strong", "mean score")
    for point in found["curve"][::4]:
        table.add_row(f"{point['strong_share']:.0%}", f"{point['quality']:.3f}")
    console.print(table)
    console.print(
        f"always weak {base['always_weak']['quality']:.3f}, "
        f"always strong {base['always_strong']['quality']:.3f}, "
        f"oracle {base['oracle']['quality']:.3f} with "
        f"{base['oracle']['strong_share']:.0%} of calls to the strong model"
    )
