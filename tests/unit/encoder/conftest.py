"""The packaged encoder, loaded once: it never changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sidecar.encoder.abilities import Catalogue
from sidecar.encoder.bundle import PACKAGED, Bundle
from sidecar.encoder.model import OnnxEncoder


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return Bundle.load()


@pytest.fixture(scope="session")
def encoder(bundle: Bundle) -> OnnxEncoder:
    return OnnxEncoder(bundle)


@pytest.fixture(scope="session")
def catalogue(bundle: Bundle) -> Catalogue:
    return Catalogue.of(bundle)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged files, to damage."""
    return Path(shutil.copytree(PACKAGED, tmp_path / "files"))
