"""What is sent is reproducible, bounded and what its name says."""

from __future__ import annotations

import random
import re
from itertools import islice, pairwise
from statistics import mean, pstdev

import pytest

from sidecar import headers
from sidecar.dialects import DIALECTS
from sidecar.load.client import body_of
from sidecar.load.plan import Load
from sidecar.load.run import schedule
from sidecar.load.scenarios import SCENARIOS, arrivals, shots
from sidecar.parse import Received, parse


def test_the_same_seed_sends_the_same_requests_at_the_same_moments() -> None:
    load = Load(rate=50, duration_s=2, seed=7)
    assert schedule(load, {"mixed_difficulty": 1}, 0) == schedule(load, {"mixed_difficulty": 1}, 0)
    assert schedule(load, {"mixed_difficulty": 1}, 0) != schedule(load, {"mixed_difficulty": 1}, 1)


def test_arrivals_are_a_poisson_process() -> None:
    due = arrivals(200, 60, seed=3)
    gaps = [b - a for a, b in pairwise(due)]
    assert mean(gaps) == pytest.approx(1 / 200, rel=0.05)
    assert pstdev(gaps) == pytest.approx(mean(gaps), rel=0.05)  # as an exponential's is
    assert due[-1] < 60


def test_half_of_the_requests_stream_where_half_is_asked_for() -> None:
    due = schedule(Load(rate=100, duration_s=1, stream=0.5), {"short_chat": 1}, 0)
    assert abs(sum(d.stream for d in due) - len(due) / 2) <= 1


def test_prompts_repeat_only_where_the_plan_asks() -> None:
    def distinct(repeat: float) -> float:
        sent = list(islice(shots({"short_chat": 1}, 1, repeat), 400))
        # the decision cache takes texts that differ in digits and case only for one
        return len({re.sub(r"\d", "0", str(s.messages).lower()) for s in sent}) / len(sent)

    assert distinct(0.0) == 1.0
    assert 0.4 < distinct(0.5) < 0.6


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("stream", [False, True])
def test_every_scenario_is_a_request_that_the_sidecar_takes(name: str, stream: bool) -> None:
    shot = SCENARIOS[name](random.Random(1))
    assert shot.scenario == name
    body = body_of(shot, "auto", stream=stream)
    call = parse(Received("id", DIALECTS["chat"], headers.read(()), body))
    assert (call.model, call.stream) == ("auto", stream)


def test_the_long_ones_are_long() -> None:
    rng = random.Random(1)
    assert len(body_of(SCENARIOS["long_context"](rng), "auto", stream=False)) > 25_000
    assert len(SCENARIOS["large_tool_catalogue"](rng).tools) == 60
    assert len(SCENARIOS["growing_conversation"](rng).messages) >= 4
    assert SCENARIOS["tool_call_burst"](rng).messages[-1]["role"] == "tool"
