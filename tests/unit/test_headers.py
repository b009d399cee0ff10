"""What passes up, what passes down, and what a caller may ask of the router."""

from __future__ import annotations

import pytest

from sidecar import headers
from sidecar.clock import Clock
from sidecar.errors import BadRequest
from sidecar.types import Decision, Hints, Step
from tests.support.builders import call, spec

HOP_BY_HOP = (
    "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
    "TE", "Trailer", "Transfer-Encoding", "Upgrade",
)  # fmt: skip


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_hop_by_hop_headers_end_here_both_ways(name: str) -> None:
    fields = [(name.lower(), "x"), (name.upper(), "y"), ("X-Kept", "1")]
    assert headers.up(fields, spec(key=None)) == [("X-Kept", "1")]
    assert list(headers.down(fields).items()) == [("X-Kept", "1")]


def test_headers_that_connection_names_end_here_both_ways() -> None:
    fields = [
        ("Connection", "close, X-Mine"),
        ("connection", " x-other ,"),
        ("X-MINE", "1"),
        ("x-other", "2"),
        ("x-kept", "3"),
    ]
    assert headers.up(fields, spec(key=None)) == [("x-kept", "3")]
    assert list(headers.down(fields).items()) == [("x-kept", "3")]


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Expect", "Cookie", "Content-Encoding"])
def test_what_belongs_to_the_callers_connection_does_not_go_up(name: str) -> None:
    assert headers.up([(name, "x")], spec(key=None)) == []


@pytest.mark.parametrize("name", ["X-Router-Session", "x-router-tenant", "X-ROUTER-ANYTHING"])
def test_the_routers_own_headers_travel_neither_way(name: str) -> None:
    assert headers.up([(name, "x")], spec(key=None)) == []
    assert list(headers.down([(name, "x")])) == []


def test_an_upstreams_server_timing_does_not_come_down() -> None:
    assert list(headers.down([("Server-Timing", "db;dur=1"), ("X-Request-Id", "r")])) == [
        "X-Request-Id"
    ]


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "api-key"])
@pytest.mark.parametrize("auth", ["bearer", "x-api-key", "none"])
def test_a_callers_credentials_never_go_up_unasked(name: str, auth: str) -> None:
    sent = headers.up([(name, "callers-secret")], spec(auth, key=None))
    assert sent == []


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "api-key"])
def test_passthrough_sends_the_callers_credentials(name: str) -> None:
    fields = [(name, "callers-secret"), ("Cookie", "c")]
    assert headers.up(fields, spec("passthrough", key=None)) == [(name, "callers-secret")]


def test_the_upstreams_key_goes_as_its_auth_says() -> None:
    mine = [("Authorization", "Bearer callers"), ("x-api-key", "callers")]
    assert headers.up(mine, spec("bearer")) == [("Authorization", "Bearer up-key")]
    assert headers.up(mine, spec("x-api-key")) == [("x-api-key", "up-key")]
    assert headers.up(mine, spec("none")) == []


def test_repeated_headers_stay_repeated_and_in_order() -> None:
    fields = [("set-cookie", "a=1"), ("Vary", "x"), ("Set-Cookie", "b=2")]
    assert headers.down(fields).getall("set-cookie") == ["a=1", "b=2"]


def test_a_header_that_cannot_be_written_again_is_made_safe() -> None:
    passed = headers.down([("x-note", "caf\udce9 é")])
    assert passed["x-note"].isascii()
    assert passed["x-note"].encode()


def test_every_hint_is_read() -> None:
    fields = [
        ("X-Router-Session", "s1"),
        ("x-router-tenant", "t1"),
        ("x-router-quality", "0.5"),
        ("x-router-max-cost-usd", "0.25"),
        ("x-router-explain", "1"),
    ]
    assert headers.hints(fields) == Hints("s1", "t1", 0.5, 0.25, True)


def test_no_hints_are_no_hints() -> None:
    assert headers.hints([("accept", "x")]) == Hints()
    assert headers.hints([("x-router-session", "")]) == Hints()
    assert headers.hints([("x-router-explain", "0")]) == Hints()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-router-quality", "high"),
        ("x-router-quality", ""),
        ("x-router-quality", "1.1"),
        ("x-router-quality", "-0.1"),
        ("x-router-quality", "nan"),
        ("x-router-quality", "inf"),
        ("x-router-max-cost-usd", "-1"),
        ("x-router-max-cost-usd", "free"),
        ("x-router-max-cost-usd", "nan"),
        ("x-router-session", "x" * 257),
        ("x-router-tenant", "x" * 257),
    ],
)
def test_a_hint_of_the_wrong_kind_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadRequest, match=name) as caught:
        headers.hints([(name, value)])
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("name", "near"),
    [("x-router-qualty", "x-router-quality"), ("X-Router-Max-Cost", "x-router-max-cost-usd")],
)
def test_an_unknown_route_option_is_refused_and_the_near_one_named(name: str, near: str) -> None:
    with pytest.raises(BadRequest, match=f"{name.lower()}.*{near}") as caught:
        headers.hints([(name, "0.5")])
    assert caught.value.code == "unknown_option"


def test_router_headers_replace_and_stand_once() -> None:
    clock = Clock()
    clock.lap("parse")
    clock.lap("decide")
    clock.lap("upstream")
    steps = (Step("policy", "one"), Step("budget", "zwei ü"))
    decision = Decision("small", "auto", "policy", steps=steps)
    head = headers.down([("content-type", "application/json")])
    headers.add_router(head, call(hints=Hints(explain=True)), decision, clock)
    for name in ("model", "route", "reason", "decision-ms", "request-id", "explain"):
        assert len(head.getall(f"x-router-{name}")) == 1
    assert head["x-router-explain"] == "policy: one | budget: zwei ?"
    assert head["x-router-request-id"] == "req_test"
    # the decision's time does not count the upstream's
    laps = clock.laps["parse"] + clock.laps["decide"]
    assert float(head["x-router-decision-ms"]) == pytest.approx(laps, abs=0.001)
    assert [part.split(";")[0] for part in head["Server-Timing"].split(", ")] == [
        "parse",
        "decide",
        "upstream",
    ]


def test_the_chain_is_told_only_to_who_asked() -> None:
    head = headers.down([])
    headers.add_router(head, call(), Decision("small", "auto", "policy"), Clock())
    assert "x-router-explain" not in head
