"""The engine decides, and explains, as it did when it was written out plainly.

The file was made by that engine: see :mod:`tests.support.situations`.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from tests.support.situations import decided

GOLDEN = Path(__file__).with_name("golden.jsonl.gz")


def test_every_recorded_situation_is_decided_as_it_was() -> None:
    with gzip.open(GOLDEN, "rt", encoding="utf-8") as lines:
        recorded = [json.loads(line) for line in lines]
    now = list(decided())
    assert len(now) == len(recorded) > 600
    for found, before in zip(now, recorded, strict=True):
        assert found == before, found["case"]
