"""Phrases that call a prompt easy or hard do not send it elsewhere, but for a small share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sidecar.demo
from bench.gaming import Reader, flips
from sidecar.config import loader
from sidecar.config.snapshot import Snapshot
from sidecar.demo.site import lay_out
from sidecar.offline.session import Session


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Real prompts of the demo that are said in one turn."""
    lines = Path(sidecar.demo.__file__).with_name("prompts.jsonl").read_text().splitlines()
    turns = [json.loads(line)["messages"] for line in lines]
    return [t[0]["content"] for t in turns if len(t) == 1 and isinstance(t[0]["content"], str)][:60]


@pytest.fixture(scope="module")
def session() -> Session:
    return Session()


@pytest.fixture(scope="module")
def reader(session: Session) -> Reader:
    return Reader(session)


@pytest.fixture(scope="module")
def over(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder = tmp_path_factory.mktemp("site")
    file = lay_out(folder, "http://127.0.0.1:1/v1").config_file
    return loader.load(file, session.catalogue, {})


def test_few_prompts_can_be_talked_up_or_down(
    texts: list[str], reader: Reader, over: Snapshot
) -> None:
    assert over.config.classifier.claims == "ignore"
    found = flips(reader, over, texts, claims=False)
    assert len(texts) == 60
    for way in ("downgrade", "upgrade"):
        assert found[way]["of_all"] <= 0.03
        assert found[way]["of_those_that_could"] <= 0.05


def test_claims_that_are_left_out_move_no_more_than_those_that_are_read(
    texts: list[str], reader: Reader, over: Snapshot
) -> None:
    some = texts[:12]
    left_out, read = (flips(reader, over, some, claims=claims) for claims in (False, True))
    for way in ("downgrade", "upgrade"):
        assert left_out[way]["of_all"] <= read[way]["of_all"] + 0.01
