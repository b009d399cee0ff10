"""Writes what was measured into README.md, docs/ and docs/images, from the results file alone.

Between ``<!-- measured: NAME -->`` and ``<!-- end -->`` stands the table NAME of the newest
whole run in ``bench/results.jsonl``; the pictures of ``bench.report.charts`` are files of
their own. Nothing else of a document is touched.

    python -m bench.readme            # write
    python -m bench.readme --check    # say what differs; exit 1 if anything does
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from bench import ground
from bench.report import charts, quality, tables
from bench.report.headline import headline
from bench.report.rows import Results

TABLES: dict[str, Callable[[Results], str]] = {
    "demo": tables.demo,
    "headline": headline,
    "stages": tables.stages,
    "clients": tables.by_clients,
    "rates": tables.by_rate,
    "lengths": tables.by_length,
    "scenarios": tables.scenarios,
    "proxies": tables.proxies,
    "thin": tables.thin,
    "classifiers": tables.classifiers,
    "soak": tables.soak,
    "rules": quality.at_the_cost_of_rules,
    "field": quality.field_mix,
    "gaming": quality.gaming,
    "recovery": quality.recovery,
    "engine": quality.engine,
    "encoder": quality.encoder,
}
_PLACE = re.compile(r"(<!-- measured: ([a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, results: Results) -> str:
    """``text`` with every marked place as ``results`` have it; KeyError for an unknown name."""
    return _PLACE.sub(lambda m: f"{m[1]}\n{TABLES[m[2]](results)}\n\n{m[3]}", text)


def made(root: Path) -> dict[Path, str]:
    """Every file that quotes results, as it should be."""
    with (root / "bench" / "results.jsonl").open(encoding="utf-8") as lines:
        results = Results.of(lines)
    files = {}
    for file in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        text = file.read_text(encoding="utf-8")
        if _PLACE.search(text):
            files[file] = filled(text, results)
    images = root / "docs" / "images"
    return files | {images / name: text for name, text in charts.charts(results).items()}


def stale(root: Path) -> list[Path]:
    """The files that say something else than the results file."""
    return [
        file
        for file, text in made(root).items()
        if not file.exists() or file.read_text(encoding="utf-8") != text
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    found = stale(ground.ROOT)
    for file in found:
        name = file.relative_to(ground.ROOT)
        print(f"{name} {'differs from bench/results.jsonl' if args.check else 'written'}")
        if not args.check:
            file.write_text(made(ground.ROOT)[file], encoding="utf-8")
    if args.check and found:
        print("python -m bench.readme writes them", file=sys.stderr)
    return 1 if args.check and found else 0


if __name__ == "__main__":
    raise SystemExit(main())
