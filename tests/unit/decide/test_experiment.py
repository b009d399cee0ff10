"""A split is stable, has the shares it says, and an arm decides as its route does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from sidecar.config.snapshot import ArmSpec, RouteSpec
from sidecar.decide import View, plan
from sidecar.decide.experiment import arm_of, under
from sidecar.types import Decision, Features, Hints, Prompt
from tests.support.builders import call, model, snapshot

OVER = snapshot([model("cheap", 1.0), model("dear", 20.0)], policy="fixed", default="cheap")


def split(by: str = "session", *shares: float, salt: str = "") -> RouteSpec:
    route = OVER.routes["auto"]
    ends = [sum(shares[: i + 1]) for i in range(len(shares))]
    arms = tuple(
        ArmSpec(f"arm{i}", end, replace(route, default="dear")) for i, end in enumerate(ends)
    )
    return replace(route, arms=arms, split_by=by, salt=salt)


def member(route: RouteSpec, key: str) -> str | None:
    return arm_of(route, call(hints=Hints(session=key, tenant=key)))


def test_the_shares_are_what_was_asked() -> None:
    found = Counter(member(split("session", 0.1, 0.3), f"s{n}") for n in range(20_000))
    assert found["arm0"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert found["arm1"] / 20_000 == pytest.approx(0.3, abs=0.015)
    assert found["control"] / 20_000 == pytest.approx(0.6, abs=0.015)


def test_a_key_stays_in_its_arm_and_a_larger_arm_moves_nobody_out() -> None:
    small, large = split("session", 0.1), split("session", 0.5)
    inside = [f"s{n}" for n in range(2000) if member(small, f"s{n}") == "arm0"]
    assert inside
    assert all(member(large, key) == "arm0" for key in inside)
    # written down: a restart, another worker and another version must agree
    found = [member(split("session", 0.5), f"s{n}") for n in range(4)]
    assert found == ["control", "arm0", "arm0", "arm0"]


def test_another_salt_draws_anew() -> None:
    one, other = split("session", 0.5), split("session", 0.5, salt="spring")
    same = sum(member(one, f"s{n}") == member(other, f"s{n}") for n in range(4000))
    assert same / 4000 == pytest.approx(0.5, abs=0.05)


def test_the_key_is_what_the_split_says() -> None:
    a = call(hints=Hints(session="s", tenant="t"))
    by_tenant, by_session = split("tenant", 0.5), split("session", 0.5)
    for number in range(30):
        other = replace(a, request_id=f"r{number}", hints=Hints(session=f"x{number}", tenant="t"))
        assert arm_of(by_tenant, other) == arm_of(by_tenant, a)
    # a conversation without a name is known by how it began
    turns = [
        replace(call(), request_id=f"r{n}", prompt=Prompt(user=f"turn {n}", first="hello", turns=n))
        for n in range(1, 30)
    ]
    assert len({arm_of(by_session, turn) for turn in turns}) == 1
    requests = {arm_of(split("request", 0.5), turn) for turn in turns}
    assert requests == {"arm0", "control"}


def test_an_arm_decides_as_its_route_and_says_so() -> None:
    route = split("session", 0.5)
    over = replace(OVER, routes={"auto": route})
    acted = plan(call(), Features("hello"), over, View(arm="arm0"))
    control = plan(call(), Features("hello"), over, View(arm="control"))
    assert isinstance(acted, Decision)
    assert isinstance(control, Decision)
    assert (acted.model, acted.route) == ("dear", "auto")
    assert control.model == "cheap"
    assert ("split", "the arm arm0") in [(s.stage, s.verdict) for s in acted.steps]
    assert under(route, "gone") is route  # an arm that a reload took away
