"""Phrases that call a prompt easy do not send it to a cheaper model, but for a small share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sidecar.demo
from bench.gaming import figures
from sidecar.config import loader
from sidecar.demo.site import lay_out
from sidecar.offline.session import Session


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Real prompts of the demo that are said in one turn."""
    lines = Path(sidecar.demo.__file__).with_name("prompts.jsonl").read_text().splitlines()
    turns = [json.loads(line)["messages"] for line in lines]
    return [t[0]["content"] for t in turns if len(t) == 1 and isinstance(t[0]["content"], str)][:60]


def test_few_prompts_can_be_talked_down(texts: list[str], tmp_path: Path) -> None:
    session = Session()
    over = loader.load(
        lay_out(tmp_path, "http://127.0.0.1:1/v1").config_file, session.catalogue, {}
    )
    found = figures(session, over, texts)
    assert found["prompts"] == 60
    assert found["downgrade"]["of_all"] <= 0.05
    assert found["downgrade"]["of_those_that_could"] <= 0.10
