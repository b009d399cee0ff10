"""A bundle: the files that make one encoder, checked by hash before anything is read.

A folder with ``manifest.json``, which names every other file with its SHA-256, the
order of the labels, the window's markers and the sizes. A file that is missing,
changed or from another training run is refused at load, by name, because a wrong
vocabulary or catalogue would not crash: it would answer nonsense with confidence.

What every process needs is read at load. The same network in other precisions, for
GPUs, is read by :meth:`Bundle.file` where somebody asks, under the same check.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from sidecar.encoder.tokens import MAX_TOKENS
from sidecar.errors import EncoderError
from sidecar.features import MARKERS
from sidecar.types import DOMAINS, TASKS, TIERS

PACKAGED: Final = Path(__file__).parent / "files"
FORMAT: Final = 1
REQUIRED: Final = ("abilities.json", "model.int8.onnx", "tokenizer.json")
_REMEDY: Final = "reinstall the package, or export the encoder again with `make train`"


@dataclass(frozen=True, slots=True)
class Bundle:
    """One verified encoder: raw bytes in, nothing half-read."""

    path: Path
    version: str
    demand: int  # K, the length of the demand vector
    vocabulary: int
    onnx: bytes
    tokenizer: bytes
    abilities: bytes
    manifest: dict[str, Any]

    @classmethod
    def load(cls, path: Path | None = None) -> Bundle:
        """The bundle in folder ``path``, by default the packaged one.

        Raises EncoderError that names the file and says what to do.
        """
        folder = path or PACKAGED
        manifest = _manifest(folder)
        for name in manifest["files"]:
            if Path(name).name != name:
                raise EncoderError(f"{folder}/manifest.json lists a path outside it: {name!r}")
        files = {name: _verified(folder, name, manifest) for name in REQUIRED}
        return cls(
            path=folder,
            version=manifest["version"],
            demand=manifest["demand"],
            vocabulary=manifest["vocabulary"],
            onnx=files["model.int8.onnx"],
            tokenizer=files["tokenizer.json"],
            abilities=files["abilities.json"],
            manifest=manifest,
        )

    def file(self, name: str) -> bytes:
        """A listed file, such as ``model.fp16.onnx``. Raises EncoderError unless it is whole."""
        return _verified(self.path, name, self.manifest)


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / "manifest.json"
    try:
        manifest: Any = orjson.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise EncoderError(f"{file} is missing: {_REMEDY}") from error
    except (OSError, orjson.JSONDecodeError) as error:
        raise EncoderError(f"{file} can't be read: {error}; {_REMEDY}") from error
    kinds = {"format": int, "version": str, "demand": int, "vocabulary": int, "files": dict}
    if not isinstance(manifest, dict) or not all(
        isinstance(manifest.get(key), kind) for key, kind in kinds.items()
    ):
        raise EncoderError(f"{file} is not an encoder's manifest: {_REMEDY}")
    if manifest["format"] != FORMAT:
        raise EncoderError(
            f"{file} has format {manifest['format']}, this program reads {FORMAT}: {_REMEDY}"
        )
    expected = {
        "labels": {"task": list(TASKS), "domain": list(DOMAINS), "tier": list(TIERS)},
        "markers": [ord(m) for m in MARKERS],
        "max_tokens": MAX_TOKENS,
    }
    for key, value in expected.items():
        if manifest.get(key) != value:
            raise EncoderError(
                f"{file} was made for other {key.replace('_', ' ')} than this program's: {_REMEDY}"
            )
    return manifest


def _verified(folder: Path, name: str, manifest: dict[str, Any]) -> bytes:
    digest = manifest["files"].get(name)
    if digest is None:
        raise EncoderError(f"{folder}/manifest.json does not list {name}: {_REMEDY}")
    file = folder / name
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise EncoderError(f"{file} is missing or can't be read: {_REMEDY}") from error
    if hashlib.sha256(raw).hexdigest() != digest:
        raise EncoderError(f"{file} is corrupt or belongs to another encoder: {_REMEDY}")
    return raw
