"""``python -m bench.rivals``: proxies, then classifiers, in one session and one row."""

from __future__ import annotations

import argparse
import json

from bench import ground
from bench.rivals.classify import judge
from bench.rivals.manifest import all_of_them
from bench.rivals.race import race


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000, help="a round; streams a tenth")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=200, help="that the classifiers read")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--part", choices=("proxies", "classifiers", "both"), default="both")
    parser.add_argument("--no-install", action="store_true", help="only what is installed")
    parser.add_argument("--dry", action="store_true", help="do not append to the results file")
    args = parser.parse_args()
    chosen = [m for m in all_of_them() if not args.only or m.name in args.only]
    install = not args.no_install
    figures: dict[str, object] = {}
    if args.part != "classifiers":
        proxies = [m for m in chosen if m.proxy or m.install.why_not]
        figures |= race(proxies, args.requests, args.rounds, args.clients, install=install)
    if args.part != "proxies":
        classifiers = [m for m in chosen if m.classifier]
        figures |= judge(classifiers, args.prompts, install=install)
    if not args.dry:
        ground.record("rivals", figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
