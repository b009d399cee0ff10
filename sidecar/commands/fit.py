"""``sidecar fit SCORED.jsonl --model NAME --output FILE``: abilities for new models."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

_TELLS = 0.55  # AUC: below it the encoder ranks prompts hardly better than a draw
_FORM = 'rows have no scores, such as "scores": {"NAME": 1.0}, or in CSV a column scores.NAME'


def register(subparsers: Any) -> None:
    command = subparsers.add_parser(
        "fit",
        help="the abilities of models never seen, from rows {id, prompt, scores}",
        description="Fit abilities from 50 or more rows {id, prompt, scores: {NAME: 0..1}}, and "
        "say of held-out rows how well they rank (AUC) and how true they are (calibration error).",
    )
    command.add_argument(
        "input",
        type=Path,
        metavar="SCORED.jsonl",
        help="a JSON object a line, or CSV; .gz is read too",
    )
    command.add_argument(
        "--model", action="append", required=True, metavar="NAME",
        help="whose scores to fit; may be given again",
    )  # fmt: skip
    command.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="for `abilities` to name"
    )
    command.add_argument("--json", action="store_true", help="the report as one JSON object")
    command.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    import json  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415

    from sidecar.errors import DataError  # noqa: PLC0415
    from sidecar.offline.fit import fit_ability, prior_slope  # noqa: PLC0415
    from sidecar.offline.rows import BadRow, read_rows  # noqa: PLC0415
    from sidecar.offline.session import Session, need_folder, read_with_progress  # noqa: PLC0415

    need_folder(args.output)
    session = Session()
    names = list(dict.fromkeys(args.model))
    read = list(read_rows(args.input))
    for row in read:
        if isinstance(row, BadRow):
            raise DataError(f"{args.input}: {row.error}")
    good = [row for row in read if not isinstance(row, BadRow)]
    rows = [row for row in good if any(name in row.scores for name in names)]
    for name in names:
        if not any(name in row.scores for row in rows):
            scored = sorted({other for row in good for other in row.scores})
            there = ", ".join(scored[:8]) + (" and others" if len(scored) > 8 else "")
            raise DataError(
                f"no row of {args.input} has a score for {name!r}: "
                + (f"scored are {there}" if scored else _FORM)
            )
    catalogue = session.catalogue
    prior = prior_slope([catalogue[n].slope for n in catalogue.names])
    vectors, _ = read_with_progress(session, rows)
    models: dict[str, dict[str, Any]] = {}
    for name in names:
        mine = [i for i, row in enumerate(rows) if name in row.scores]
        scores = np.array([rows[i].scores[name] for i in mine])
        found = fit_ability(vectors[mine], scores, prior, name)
        models[name] = {
            "a": [round(float(x), 6) for x in found.slope],
            "b": round(found.shift, 6),
            "strength": round(found.mean, 4),
            "rows": found.rows,
            "held_out_auc": None if found.auc is None else round(found.auc, 4),
            "held_out_ece": round(found.ece, 4),
            "ridge": found.ridge,
        }
    report = {
        "format": 1,
        "demand": catalogue.demand,
        "encoder": catalogue.encoder,
        "models": models,
    }
    try:
        args.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"can't write {args.output}: {error.strerror}") from error
    if args.json:
        print(json.dumps(report))
        return 0
    for name, fit in models.items():
        auc = "undefined" if fit["held_out_auc"] is None else f"{fit['held_out_auc']:.3f}"
        print(
            f"{name}: {fit['rows']} rows, mean score {fit['strength']:.3f}, "
            f"held-out AUC {auc}, calibration error {fit['held_out_ece']:.3f}"
        )
        if fit["held_out_auc"] is not None and fit["held_out_auc"] < _TELLS:
            print(
                f"{name}: of which prompts it answers the encoder tells little here (an AUC of 0.5 "
                "is none): route to it by rules, or score more prompts",
                file=sys.stderr,
            )
    print(
        f"wrote {args.output}: name it as `abilities` in the configuration, and "
        f"{', '.join(names)} as the `ability` of a model",
        file=sys.stderr,
    )
    return 0
