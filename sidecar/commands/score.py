"""``sidecar score IN.jsonl``: what the encoder says of every prompt, row by row."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.commands.serve import server

if TYPE_CHECKING:
    from sidecar.encoder.bundle import Bundle
    from sidecar.offline.backends import Encoder
    from sidecar.offline.rows import BadRow, Row


def register(subparsers: Any) -> None:
    command = subparsers.add_parser(
        "score",
        help="difficulty, demand, labels and P(suffices) for rows {id, prompt}",
        description="Read rows {id, prompt} or {id, messages}, a JSON object a line, and write "
        "what the encoder says of each: how hard it is, its labels, and which model suffices.",
    )
    command.add_argument(
        "input", type=Path, metavar="IN.jsonl", help="or CSV; - is stdin, .gz is read too"
    )
    command.add_argument("--output", type=Path, metavar="OUT.jsonl", help="stdout, unless given")
    command.add_argument(
        "--backend", choices=("onnx", "triton", "torch"), default="onnx",
        help="what reads the prompts (onnx)",
    )  # fmt: skip
    command.add_argument(
        "--triton", type=server, default="127.0.0.1:8001", metavar="HOST:PORT", help="its gRPC"
    )
    command.add_argument("--abilities", type=Path, metavar="FILE", help="what `sidecar fit` wrote")
    command.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from sidecar.errors import DataError  # noqa: PLC0415
    from sidecar.offline.rows import read_rows  # noqa: PLC0415
    from sidecar.offline.score import score_rows  # noqa: PLC0415
    from sidecar.offline.session import Session, track  # noqa: PLC0415

    there = args.output is not None and args.output.exists() and args.input.exists()
    if there and args.output.samefile(args.input):
        raise DataError(f"{args.output} is the file to read: write to another")
    good = bad = 0
    with ExitStack() as stack:
        make = partial(_triton, stack, args.triton) if args.backend == "triton" else None
        session = Session(args.abilities, backend=args.backend, make=make)
        rows = read_rows(args.input)
        first = list(islice(rows, 1))  # an input that is not there costs no output that is
        try:
            out = stack.enter_context(args.output.open("wb")) if args.output else sys.stdout.buffer
        except OSError as error:
            raise DataError(f"can't write {args.output}: {error.strerror}") from error
        rows = track(chain(first, rows), "scoring")
        for row in score_rows(rows, session.read, session.catalogue):
            good, bad = good + ("error" not in row), bad + ("error" in row)
            out.write(_line(row))
        out.flush()
    if not good:
        print(f"sidecar: {_none(args.input, first)}", file=sys.stderr)
    elif bad:
        print(f"sidecar: {bad} rows could not be scored; each says why", file=sys.stderr)
    return 0


def _none(file: Path, first: list[Row | BadRow]) -> str:
    from sidecar.offline.rows import BadRow  # noqa: PLC0415

    if not first:
        return f"{file} has no rows"
    why = next((row.error for row in first if isinstance(row, BadRow)), "")
    form = '{"id": 1, "prompt": "..."}'
    return f"no row of {file} could be scored: {why}. A row is a line such as {form}"


def _triton(stack: ExitStack, url: str, bundle: Bundle) -> Encoder:
    """An encoder that opens a socket, closed with ``stack``: offline work opens none."""
    from sidecar.classify.triton_reader import TritonEncoder  # noqa: PLC0415

    return stack.enter_context(closing(TritonEncoder(bundle, url)))


def _line(row: dict[str, Any]) -> bytes:
    import orjson  # noqa: PLC0415

    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # an id with half a surrogate pair or a number beyond 64 bits
        import json  # noqa: PLC0415

        return json.dumps(row).encode() + b"\n"
