"""The webhook's settings file: its faults by line, and its keys in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sidecar.errors import ConfigError
from sidecar.inject import patch, settings, wishes

DOCS = (Path(__file__).parents[3] / "docs" / "kubernetes.md").read_text()


def load(folder: Path, text: str) -> settings.Settings:
    file = folder / "settings.yaml"
    file.write_text(text)
    return settings.load(file)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "") == settings.Settings()


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "imagee: x\nport: 80\nresources:\n  cpu_limit: lots\n")
    faults = [each.removeprefix(f"{tmp_path}/") for each in caught.value.faults]
    assert faults[0].startswith("settings.yaml:1: imagee: unknown key; did you mean 'image'?")
    assert faults[1].startswith("settings.yaml:2: port: ")
    assert faults[2].startswith("settings.yaml:4: resources.cpu_limit: write a quantity such as")


@pytest.mark.parametrize("text", ["- a", "image: [", "port: yes", "secret: A_B"])
def test_what_is_no_settings_file_is_a_fault(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, text)


def test_every_annotation_and_no_other_is_documented() -> None:
    table = set(re.findall(r"^\| `(pointsman\.dev/[a-z-]+)` \|", DOCS, re.MULTILINE))
    assert table == {*wishes.ANNOTATIONS, wishes.INJECT, wishes.INJECTED}


def test_every_variable_that_is_set_is_documented() -> None:
    for names, _ in patch.FAMILIES:
        for name in names:
            assert f"`{name}`" in DOCS


def test_every_key_of_the_settings_is_documented() -> None:
    for section in (settings.Settings, settings.Resources):
        for name in section.model_fields:
            assert f"`{name}`" in DOCS
