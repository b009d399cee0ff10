"""A bundle is whole and untouched, or refused by the name of what is wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.encoder.abilities import Catalogue
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import OnnxEncoder
from sidecar.errors import EncoderError

FILES = ("model.int8.onnx", "tokenizer.json", "abilities.json")


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def vouch(folder: Path, name: str) -> None:
    """Make the manifest vouch for a changed file, as a careless export would."""
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    rewrite(folder, lambda m: m["files"].__setitem__(name, digest))


def test_the_packaged_bundle_is_whole_and_small(bundle: Bundle) -> None:
    assert bundle.version
    assert sum(f.stat().st_size for f in bundle.path.iterdir()) < 30e6


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_refused_by_name(folder: Path, name: str) -> None:
    raw = bytearray((folder / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / name).write_bytes(raw)
    with pytest.raises(EncoderError, match=f"{name} is corrupt"):
        Bundle.load(folder)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(EncoderError, match=f"{name} is missing"):
        Bundle.load(folder)


def test_a_changed_file_for_gpus_is_refused_where_it_is_asked_for(folder: Path) -> None:
    name = "model.fp16.onnx"
    raw = bytearray((folder / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / name).write_bytes(raw)
    bundle = Bundle.load(folder)
    with pytest.raises(EncoderError, match=f"{name} is corrupt"):
        bundle.file(name)


def test_a_file_that_the_manifest_does_not_list_is_not_read(folder: Path) -> None:
    (folder / "other.onnx").write_bytes(b"anything")
    with pytest.raises(EncoderError, match=r"does not list other\.onnx"):
        Bundle.load(folder).file("other.onnx")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "one"}'])
def test_a_broken_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(EncoderError, match=r"manifest\.json"):
        Bundle.load(folder)


def test_labels_in_another_order_are_refused(folder: Path) -> None:
    rewrite(folder, lambda m: m["labels"]["task"].reverse())
    with pytest.raises(EncoderError, match="other labels"):
        Bundle.load(folder)


def test_another_window_is_refused(folder: Path) -> None:
    rewrite(folder, lambda m: m["markers"].pop())
    with pytest.raises(EncoderError, match="other markers"):
        Bundle.load(folder)


def test_a_newer_format_is_refused(folder: Path) -> None:
    rewrite(folder, lambda m: m.__setitem__("format", 99))
    with pytest.raises(EncoderError, match="format 99"):
        Bundle.load(folder)


def test_a_manifest_cannot_point_outside_its_folder(folder: Path) -> None:
    rewrite(folder, lambda m: m["files"].__setitem__("../evil", "0"))
    with pytest.raises(EncoderError, match="outside"):
        Bundle.load(folder)


def test_a_tokenizer_of_another_encoder_is_refused(folder: Path) -> None:
    file = folder / "tokenizer.json"
    spec = json.loads(file.read_text())
    spec["model"]["vocab"]["anotherword"] = len(spec["model"]["vocab"])
    file.write_text(json.dumps(spec))
    vouch(folder, "tokenizer.json")
    with pytest.raises(EncoderError, match="do not belong together"):
        OnnxEncoder(Bundle.load(folder))


def test_what_is_no_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    vouch(folder, "tokenizer.json")
    with pytest.raises(EncoderError, match=r"tokenizer\.json"):
        OnnxEncoder(Bundle.load(folder))


def test_what_is_no_graph_is_refused(folder: Path) -> None:
    (folder / "model.int8.onnx").write_bytes(b"not a graph")
    vouch(folder, "model.int8.onnx")
    with pytest.raises(EncoderError, match=r"model\.int8\.onnx"):
        OnnxEncoder(Bundle.load(folder))


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 1, "demand": 1, "models": {}}'])
def test_a_broken_catalogue_is_refused(folder: Path, text: str) -> None:
    (folder / "abilities.json").write_text(text)
    vouch(folder, "abilities.json")
    with pytest.raises(EncoderError, match=r"abilities\.json"):
        Catalogue.of(Bundle.load(folder))


def test_a_catalogue_of_another_width_is_refused(folder: Path) -> None:
    file = folder / "abilities.json"
    raw = json.loads(file.read_text())
    next(iter(raw["models"].values()))["a"].pop()
    file.write_text(json.dumps(raw))
    vouch(folder, "abilities.json")
    with pytest.raises(EncoderError, match="finite numbers"):
        Catalogue.of(Bundle.load(folder))
