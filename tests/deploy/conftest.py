"""The real helm and kubectl, and what the chart renders with them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import render

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".venv" / "kube"
Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]


def tool(name: str) -> Path:
    for folder in (TOOLS, Path(sys.prefix) / "kube"):
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"{name} is not here: `make test` fetches it, for linux/amd64")


@pytest.fixture(scope="session")
def helm() -> Path:
    return tool("helm")


@pytest.fixture(scope="session")
def kubectl() -> Path:
    return tool("kubectl")


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool") or str(ROOT / ".venv" / "tools" / "usr" / "bin" / "promtool")
    if not Path(found).exists():
        pytest.skip("promtool is not installed: make test fetches it where there is apt-get")
    return found


@pytest.fixture(scope="session")
def chart(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Render the chart with values given as Python values; a RuntimeError is helm's complaint."""
    folder = tmp_path_factory.mktemp("values")

    @cache
    def rendered(values: str, version: str) -> str:
        file = folder / "values.yaml"
        file.write_text(values)
        return render.template(helm, "--values", str(file), version=version)

    def objects(values: dict[str, Any] | None = None, version: str = "1.35.0") -> list[Manifest]:
        text = rendered(yaml.safe_dump(values or {}), version)
        return [each for each in yaml.safe_load_all(text) if each]

    return objects


def only(objects: list[Manifest], kind: str, name: str = "") -> Manifest:
    """The one object of this kind, or of this kind and name."""
    (found,) = (
        each
        for each in objects
        if each["kind"] == kind and (not name or each["metadata"]["name"] == name)
    )
    return found


def run(*command: str | Path, stdin: str = "") -> str:
    done = subprocess.run(
        [str(each) for each in command], input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
