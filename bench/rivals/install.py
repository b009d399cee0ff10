"""A rival's own environment, made once and kept."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench import ground
from bench.rivals.manifest import Install, Manifest

HOME = ground.ROOT / ".work" / "rivals"
_LIMIT_S = 1800


class CannotRunError(Exception):
    """Why a rival cannot run here."""


def programs(manifest: Manifest, *, allowed: bool) -> Path:
    """The folder of its programs, installed if need be; :class:`CannotRunError` with the reason."""
    wanted = manifest.install
    if wanted.why_not:
        raise CannotRunError(wanted.why_not)
    if wanted.program:
        here = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
        found = shutil.which(wanted.program, path=here)
        if not found:
            raise CannotRunError(f"{wanted.program} is not installed")
        return Path(found).parent
    folder = HOME / (wanted.home or manifest.name)
    made = folder / "bin" if wanted.pip else folder / "node_modules"
    done = folder / ".done"
    packages = wanted.pip or wanted.npm
    if done.exists() and done.read_text().split("\n") == list(packages):
        return made
    if not packages:
        return Path(sys.executable).parent
    if not allowed:
        raise CannotRunError("it is not installed (--no-install)")
    _install(folder, wanted)
    done.write_text("\n".join(packages))
    return made


def versions(manifest: Manifest, made: Path) -> dict[str, str]:
    """What ran, by package or program, as it says itself; ``made`` is of :func:`programs`."""
    wanted = manifest.install
    if wanted.program:
        said = subprocess.run(
            [str(made / wanted.program), "-v"], capture_output=True, text=True, check=False
        )
        return {wanted.program: (said.stderr or said.stdout).strip()[:100]}
    if wanted.npm:
        names = [package.rpartition("@")[0] for package in wanted.npm] + list(wanted.overrides)
        files = {name: made / name / "package.json" for name in names}
        return {
            name: str(json.loads(file.read_text())["version"])
            for name, file in files.items()
            if file.exists()
        }
    names = [re.split(r"[\[<>=]", package)[0] for package in wanted.pip]
    told = (
        "import importlib.metadata as m, json, sys; "
        "print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    )
    said = subprocess.run(
        [str(made / "python"), "-c", told, *names], capture_output=True, text=True, check=False
    )
    return dict(json.loads(said.stdout)) if names and not said.returncode else {}


def _install(folder: Path, wanted: Install) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pip, npm = wanted.pip, wanted.npm
    print(f"installing {', '.join(pip or npm)} ...", file=sys.stderr, flush=True)
    if pip:
        _run([sys.executable, "-m", "venv", str(folder)], folder)
        _run([str(folder / "bin" / "pip"), "install", "-q", *pip], folder)
        return
    if not shutil.which("npm"):
        raise CannotRunError("it needs Node.js and npm")
    (folder / "package.json").write_text(json.dumps({"overrides": wanted.overrides}))
    _run(["npm", "install", "--silent", "--no-audit", "--no-fund", *npm], folder)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=_LIMIT_S
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise CannotRunError(f"it could not be installed: {' '.join(last)[:300]}")
