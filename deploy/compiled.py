"""The request path as machine code: a copy of ``sidecar`` compiled by mypyc.

    python deploy/compiled.py TARGET

copies the package into ``TARGET/sidecar`` and compiles there, beside their sources, the
modules that every request passes through. An import takes the compiled one, so whoever
puts ``TARGET`` first on the path (or copies it over an installed package) runs the same
program for less CPU; docs/benchmarks.md has the figures. Nothing needs it: the image of the
sidecar is built with it, a checkout runs from its sources.

mypyc compiles what mypy checks; types that a module declares become checks at run time. It
does not see what ``dataclasses`` makes at import, which is Python source again: to make its
instances was a seventh of what a request cost. So the ``__init__`` of each dataclass that is
plain or of :mod:`sidecar.frozen` is written out in the copy, whose classes are no longer frozen
even to mypy: who checked the sources has seen to that.

Takes a C compiler, some minutes of one core, and mypy in the interpreter that runs this.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HERE = Path(__file__).resolve().parent.parent
PACKAGES = (
    "attempts", "decide", "decide/policies", "decide/stages", "dialects", "state", "upstream",
)  # fmt: skip
MODULES = (
    "account", "beside", "claims", "clock", "config/snapshot", "dispatch", "features", "headers",
    "hints", "ingress", "known_event", "parse", "pipeline", "relay", "replay", "runtime", "shadow",
    "sse", "tap", "telemetry", "types",
    "listen/caller", "listen/downstream", "listen/incoming", "listen/known_head",
    "listen/refusal", "listen/request", "listen/room",
    "observe/drift", "observe/metrics", "observe/recent",
)  # fmt: skip

_SEAM: Final = "from sidecar.frozen import dataclass\n"
_PLAIN: Final = "from dataclasses import dataclass\n"
_WRITTEN: Final = {  # how a class was made, and how it is made of what was written out
    "dataclass(frozen=True, slots=True)": "@dataclass(slots=True, unsafe_hash=True, init=False)\n",
    "dataclass(slots=True)": "@dataclass(slots=True, init=False)\n",
}


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
    for file in modules(package):
        file.write_text(written_out(file.read_text()))
    chosen = [str(file.relative_to(target)) for file in modules(package)]
    # of what they import only the types matter, and what is not installed has none
    flags = ["--follow-imports=silent", "--ignore-missing-imports"]
    extensions = mypycify([*flags, *chosen], opt_level="2", debug_level="0", multi_file=True)
    (target / "pyproject.toml").unlink()  # mypy's settings, and nothing of the package's
    # one library, whose functions are reached through its own table: no other needs their names,
    # and calls between them need not go through the linker's
    os.environ["CFLAGS"] = f"{os.environ.get('CFLAGS', '')} -fvisibility=hidden -fno-plt".strip()
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


def written_out(source: str) -> str:
    """``source`` with the ``__init__`` of its dataclasses, but for those that are frozen by the
    standard library and those that do more than set their fields."""
    lines = source.splitlines(keepends=True)
    ours = _SEAM in source
    for node in reversed(ast.parse(source).body):  # so that what is before keeps its place
        if not isinstance(node, ast.ClassDef) or len(node.decorator_list) != 1:
            continue
        made = ast.unparse(node.decorator_list[0])
        own = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
        if made not in _WRITTEN or "__post_init__" in own or ("frozen" in made and not ours):
            continue
        fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
        lines[fields[-1].end_lineno : fields[-1].end_lineno] = _init(fields)
        lines[node.decorator_list[0].lineno - 1] = _WRITTEN[made]
    return "".join(lines).replace(_SEAM, _PLAIN)


def _init(fields: list[ast.AnnAssign]) -> Iterator[str]:
    """The lines of the ``__init__`` that ``dataclasses`` would make of ``fields``."""
    yield "\n    def __init__(\n        self,\n"
    sets: list[str] = []
    for each in fields:
        name, kind = ast.unparse(each.target), ast.unparse(each.annotation)
        default, factory = _default(each.value)
        if factory is not None:
            yield f"        {name}: {kind} | None = None,\n"
            sets.append(f"        self.{name} = ({factory})() if {name} is None else {name}\n")
            continue
        yield (
            f"        {name}: {kind},\n"
            if default is None
            else f"        {name}: {kind} = {default},\n"
        )
        sets.append(f"        self.{name} = {name}\n")
    yield "    ) -> None:\n"
    yield from sets


def _default(value: ast.expr | None) -> tuple[str | None, str | None]:
    """A field's default, and what makes one, as source."""
    if value is None:
        return None, None
    if not (isinstance(value, ast.Call) and ast.unparse(value.func) == "field"):
        return ast.unparse(value), None
    said = {each.arg: ast.unparse(each.value) for each in value.keywords}
    unknown = said.keys() - {"default", "default_factory", "repr", "hash", "compare"}
    if unknown:
        raise SystemExit(
            f"field({', '.join(map(str, unknown))}=...) has no place in a written __init__"
        )
    return said.get("default"), said.get("default_factory")


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
