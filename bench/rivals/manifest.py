"""What a rival's manifest may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

FOLDER = Path(__file__).parent / "manifests"


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Install(Part):
    """Where its files come from; a virtual environment or a node project of its own."""

    pip: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    overrides: dict[str, str] = Field(default={})  # versions that npm is to take below
    program: str | None = None  # of the system or of this environment: found, never installed
    home: str | None = None  # shares the environment of that name
    why_not: str | None = None  # it cannot run here, and that is known beforehand


class Proxy(Part):
    """How it is started as a proxy. ``{port}``, ``{mock}``, ``{bin}``, ``{folder}`` and ``{root}``
    are filled in."""

    command: tuple[str, ...]
    files: dict[str, str] = Field(default={})  # name -> text, written into {folder}
    env: dict[str, str] = Field(default={})
    headers: dict[str, str] = Field(default={})  # that its callers send
    model: str = "small"
    cases: tuple[Literal["request", "stream"], ...] = ("request", "stream")
    start_s: float = 60.0
    share: Annotated[float, Field(gt=0, le=1)] = 1.0  # of the requests: slow ones get fewer


class Classifier(Part):
    """A script that runs in the rival's environment: JSON lines of prompts in, of scores out."""

    script: str


class Manifest(Part):
    name: str
    what: str
    install: Install
    proxy: Proxy | None = None
    classifier: Classifier | None = None


def all_of_them() -> list[Manifest]:
    """Every manifest, by file name."""
    files = sorted(FOLDER.glob("*.yaml"))
    return [Manifest.model_validate(yaml.safe_load(file.read_text())) for file in files]
