"""The request path as machine code: a copy of ``sidecar`` compiled by mypyc.

    python deploy/compiled.py TARGET

copies the package into ``TARGET/sidecar`` and compiles there, beside their sources, the
modules that every request passes through. An import takes the compiled one, so whoever
puts ``TARGET`` first on the path (or copies it over an installed package) runs the same
program for less CPU; docs/benchmarks.md has the figures. Nothing needs it: the image of the
sidecar is built with it, a checkout runs from its sources.

mypyc compiles what mypy checks; types that a module declares become checks at run time.
Takes a C compiler, some minutes of one core, and mypy in the interpreter that runs this.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PACKAGES = ("decide", "decide/policies", "decide/stages", "dialects", "state", "upstream")
MODULES = (
    "account", "attempt", "caller", "clock", "dispatch", "downstream", "headers", "hints",
    "incoming", "ingress", "known_head", "metrics", "parse", "pipeline", "recent", "relay",
    "replay", "request", "room", "runtime", "shadow", "sse", "tap", "telemetry", "types",
)  # fmt: skip


def modules(package: Path) -> list[Path]:
    """What is compiled of ``package``, sorted."""
    found = [package / f"{name}.py" for name in MODULES]
    for folder in PACKAGES:
        # but for those that only gather what the others have
        found += [file for file in (package / folder).glob("*.py") if file.name != "__init__.py"]
    missing = [str(file) for file in found if not file.exists()]
    if missing:
        raise SystemExit(f"There is no {', '.join(missing)}: name what is to be compiled anew.")
    return sorted(found)


def build(target: Path, jobs: int) -> int:
    """Copies and compiles; the number of modules that were compiled."""
    from mypyc.build import mypycify  # noqa: PLC0415  # of mypy: only who compiles needs it
    from setuptools import setup  # noqa: PLC0415

    package = target / "sidecar"
    if package.exists():
        shutil.rmtree(package)
    shutil.copytree(HERE / "sidecar", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "pyproject.toml", target)
    os.chdir(target)
    chosen = [str(file.relative_to(target)) for file in modules(package)]
    # of what they import only the types matter, and what is not installed has none
    flags = ["--follow-imports=silent", "--ignore-missing-imports"]
    extensions = mypycify([*flags, *chosen], opt_level="2", debug_level="0", multi_file=True)
    (target / "pyproject.toml").unlink()  # mypy's settings, and nothing of the package's
    setup(
        name="sidecar-compiled",
        packages=[],
        ext_modules=extensions,
        script_args=["--quiet", "build_ext", "--inplace", "--parallel", str(jobs)],
    )
    shutil.rmtree(target / "build", ignore_errors=True)
    without = [
        name for name in chosen if not list(Path(name).parent.glob(f"{Path(name).stem}.*.so"))
    ]
    if without:
        raise SystemExit(f"not compiled: {', '.join(without)}")
    return len(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", type=Path, help="a folder; TARGET/sidecar is made anew")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    args.target.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    count = build(args.target.resolve(), args.jobs)
    print(f"{count} modules compiled in {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
