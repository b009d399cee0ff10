"""The demo's prompts are what they are said to be."""

from __future__ import annotations

import base64
import json

import pytest

from sidecar.demo import traffic
from sidecar.demo.traffic import Ask
from sidecar.dialects.chat import ChatDialect
from sidecar.types import TASKS

ASKS = list(traffic.asks())


def _text(ask: Ask) -> str:
    return json.dumps(ask.body, ensure_ascii=False)


def test_there_are_two_hundred_and_no_two_share_an_id() -> None:
    assert len(ASKS) == 200
    assert len({ask.id for ask in ASKS}) == 200


def test_every_task_is_there_and_no_other() -> None:
    assert {ask.kind for ask in ASKS} == set(TASKS)


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: ask.id)
def test_each_is_a_request_that_the_dialect_reads(ask: Ask) -> None:
    asked = ChatDialect().read({"model": "auto", **ask.body})
    assert asked.messages >= 1
    assert ask.gist


def test_every_sort_of_request_is_among_them() -> None:
    asked = [ChatDialect().read({"model": "auto", **ask.body}) for ask in ASKS]
    needs = [need for each in asked for need in each.needs]
    assert min(needs.count(need) for need in ("tools", "json_schema", "vision")) >= 6
    assert sum(each.prompt.turns > 1 for each in asked) >= 10
    assert sum(bool(each.prompt.system) for each in asked) >= 15
    long = [max(len(each.prompt.user), len(each.prompt.system)) for each in asked]
    assert sum(length > 1500 for length in long) >= 12
    assert sum(ask.body["messages"][-1]["role"] == "tool" for ask in ASKS) >= 5
    assert sum(not each.prompt.user.isascii() for each in asked) >= 8
    assert max(len(each.prompt.user) for each in asked) > 25_000
    assert 0.4 < sum(ask.stream for ask in ASKS) / len(ASKS) < 0.8


def test_no_request_makes_anyone_fetch_anything() -> None:
    assert not any("http://" in _text(ask) or "https://" in _text(ask) for ask in ASKS)
    for ask in ASKS:
        for message in ask.body["messages"]:
            for part in message["content"] if isinstance(message["content"], list) else ():
                if part["type"] == "image_url":
                    data = part["image_url"]["url"].removeprefix("data:image/png;base64,")
                    assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")


def test_a_count_cuts_or_goes_round() -> None:
    assert [ask.id for ask in traffic.asks(3)] == [ask.id for ask in ASKS[:3]]
    longer = list(traffic.asks(203))
    assert len({ask.id for ask in longer}) == 203
    assert longer[200].body == ASKS[0].body
