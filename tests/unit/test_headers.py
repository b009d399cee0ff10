"""What passes up, what passes down, and what a caller may ask of the router."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar import headers
from sidecar.clock import Clock
from sidecar.config.snapshot import Secret, UpstreamSpec
from sidecar.errors import BadRequest
from sidecar.hints import hints
from sidecar.types import Candidate, Decision, Hints, Step
from tests.support.builders import call, spec

HOP_BY_HOP = (
    "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
    "TE", "Trailer", "Transfer-Encoding", "Upgrade",
)  # fmt: skip
Pairs = list[tuple[str, str]]


def raw(pairs: Pairs) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in pairs]


def pairs(lines: bytes) -> Pairs:
    """Header lines, taken apart again; each must end as a line of HTTP does."""
    split = lines.split(b"\r\n")
    assert split.pop() == b""
    return [(n.decode(), v.decode()) for n, _, v in (line.partition(b": ") for line in split)]


def up(given: Pairs, to: UpstreamSpec, *, readable: bool = False) -> Pairs:
    return pairs(headers.up(headers.read(raw(given)).passed, to, readable=readable))


def down(given: Pairs) -> Pairs:
    return pairs(headers.down(raw(given)).lines)


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_hop_by_hop_headers_end_here_both_ways(name: str) -> None:
    fields = [(name.lower(), "x"), (name.upper(), "y"), ("X-Kept", "1")]
    assert up(fields, spec(key=None)) == [("X-Kept", "1")]
    assert down(fields) == [("X-Kept", "1")]


def test_an_order_to_the_next_proxy_ends_here_for_a_stream_gets_one_of_its_own() -> None:
    assert down([("X-Accel-Buffering", "yes"), ("x-accel-buffering", "no"), ("X-Kept", "1")]) == [
        ("X-Kept", "1")
    ]


def test_headers_that_connection_names_end_here_both_ways() -> None:
    fields = [
        ("Connection", "close, X-Mine"),
        ("connection", " x-other ,"),
        ("X-MINE", "1"),
        ("x-other", "2"),
        ("x-kept", "3"),
    ]
    assert up(fields, spec(key=None)) == [("x-kept", "3")]
    assert down(fields) == [("x-kept", "3")]


@pytest.mark.parametrize("name", ["Content-Type", "Authorization", "Accept-Encoding"])
def test_nor_does_one_of_note_that_connection_names(name: str) -> None:
    fields = [("Connection", name), (name, "x")]
    assert up(fields, spec("passthrough", key=None)) == []


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Expect", "Cookie", "Content-Encoding"])
def test_what_belongs_to_the_callers_connection_does_not_go_up(name: str) -> None:
    assert up([(name, "x")], spec(key=None)) == []


@pytest.mark.parametrize("name", ["X-Router-Session", "x-router-tenant", "X-ROUTER-ANYTHING"])
def test_the_routers_own_headers_travel_neither_way(name: str) -> None:
    assert up([(name, "x")], spec(key=None)) == []
    assert down([(name, "x")]) == []


def test_an_upstreams_server_timing_does_not_come_down() -> None:
    assert down([("Server-Timing", "db;dur=1"), ("X-Request-Id", "r")]) == [("X-Request-Id", "r")]


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "api-key"])
@pytest.mark.parametrize("auth", ["bearer", "x-api-key", "api-key", "none"])
def test_a_callers_credentials_never_go_up_unasked(name: str, auth: str) -> None:
    assert up([(name, "callers-secret")], spec(auth, key=None)) == []


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "api-key"])
def test_passthrough_sends_the_callers_credentials(name: str) -> None:
    fields = [(name, "callers-secret"), ("Cookie", "c")]
    assert up(fields, spec("passthrough", key=None)) == [(name, "callers-secret")]


def test_the_upstreams_key_goes_as_its_auth_says() -> None:
    mine = [("Authorization", "Bearer callers"), ("x-api-key", "callers")]
    assert up(mine, spec("bearer")) == [("Authorization", "Bearer up-key")]
    assert up(mine, spec("x-api-key")) == [("x-api-key", "up-key")]
    assert up(mine, spec("api-key")) == [("api-key", "up-key")]
    assert up(mine, spec("none")) == []


def test_configured_headers_take_the_place_of_the_callers() -> None:
    mine = [("user-agent", "app"), ("OpenAI-Organization", "theirs"), ("X-Note", "1")]
    own = (("OpenAI-Organization", Secret("ours")), ("X-Team", Secret("t")))
    to = replace(spec("none"), headers=own)
    assert up(mine, to) == [
        ("user-agent", "app"),
        ("X-Note", "1"),
        ("OpenAI-Organization", "ours"),
        ("X-Team", "t"),
    ]
    assert "ours" not in repr(to)


@pytest.mark.parametrize(
    ("taken", "sent"),
    [
        ("gzip, deflate", "gzip, deflate"),
        ("gzip;q=1.0, identity; q=0.5, *;q=0", "gzip;q=1.0, identity; q=0.5, *;q=0"),
        ("gzip, deflate, br, zstd", "gzip, deflate"),
        ("br, gzip;q=0.8", "gzip;q=0.8"),
        ("zstd,X-GZIP", "X-GZIP"),
        ("br", "br"),  # it takes nothing else
        ("br, identity", "br, identity"),
        ("", ""),
    ],
)
def test_of_several_codings_those_are_asked_for_whose_cost_can_be_read(
    taken: str, sent: str
) -> None:
    passed = headers.read(raw([("Accept-Encoding", taken)])).passed
    assert passed.encoding == f"Accept-Encoding: {sent}\r\n".encode()


def test_what_is_to_be_read_on_its_way_is_asked_for_uncompressed() -> None:
    mine = [("Accept-Encoding", "gzip"), ("accept-encoding", "br"), ("X-Note", "1")]
    assert up(mine, spec(key=None)) == [
        ("X-Note", "1"), ("Accept-Encoding", "gzip"), ("accept-encoding", "br"),
    ]  # fmt: skip
    assert up(mine, spec(key=None), readable=True) == [
        ("X-Note", "1"), ("Accept-Encoding", "identity"),
    ]  # fmt: skip


def test_repeated_headers_stay_repeated_and_in_order() -> None:
    fields = [("set-cookie", "a=1"), ("Vary", "x"), ("Set-Cookie", "b=2")]
    assert down(fields) == fields


@pytest.mark.parametrize("value", ["a\r\nX-Forged: 1", "a\nX-Forged: 1", "a\rb"])
def test_a_line_break_in_a_value_forges_no_header(value: str) -> None:
    with pytest.raises(BadRequest):
        headers.read(raw([("X-Note", value)]))
    ((name, passed),) = down([("X-Note", value)])
    assert name == "X-Note"
    assert passed == value.replace("\r", "?").replace("\n", "?")


def test_a_header_that_cannot_be_written_again_is_made_safe() -> None:
    assert down([("x-note", "caf\udce9 é"), ("x-sound", "1\t2")]) == [
        ("x-note", "caf? ??"), ("x-sound", "1\t2"),
    ]  # fmt: skip


def test_what_the_router_looks_at_is_told_apart() -> None:
    head = headers.down(
        raw(
            [
                ("Content-Type", "Text/Event-Stream; x=Y"),
                ("Content-Length", "12"),
                ("Content-Encoding", "GZIP"),
                ("Retry-After", "3"),
            ]
        )
    )
    assert head.content_type.startswith("text/event-stream")
    assert (head.length, head.coding, head.retry_after) == (b"12", b"gzip", "3")
    assert b"Content-Length" not in head.lines
    assert headers.down(raw([("Content-Encoding", "identity")])).coding == b""


def test_every_hint_is_read() -> None:
    fields = [
        ("X-Router-Session", "s1"),
        ("x-router-tenant", "t1"),
        ("x-router-quality", "0.5"),
        ("x-router-max-cost-usd", " 0.25"),
        ("x-router-explain", "1"),
    ]
    assert hints(headers.read(raw(fields)).router) == Hints("s1", "t1", 0.5, 0.25, True)


def test_no_hints_are_no_hints() -> None:
    assert hints(headers.read(raw([("accept", "x")])).router) == Hints()
    assert hints({"x-router-session": ""}) == Hints()
    assert hints({"x-router-explain": "0"}) == Hints()


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
        ("x-router-explain", "yes"),
    ],
)
def test_a_hint_of_the_wrong_kind_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadRequest, match=name) as caught:
        hints({name: value})
    assert caught.value.param == name


def test_a_hint_that_is_given_twice_is_refused_whichever_of_them_counts() -> None:
    """A gateway's word for whose request it is, and a caller's own beside it."""
    for second in ("acme", "other", ""):
        fields = [("x-router-tenant", "acme"), ("X-Router-Tenant", second)]
        with pytest.raises(BadRequest, match="`x-router-tenant` is given more than once"):
            hints(headers.read(raw(fields)).router)


@pytest.mark.parametrize(
    ("name", "near"),
    [("x-router-qualty", "x-router-quality"), ("X-Router-Max-Cost", "x-router-max-cost-usd")],
)
def test_an_unknown_route_option_is_refused_and_the_near_one_named(name: str, near: str) -> None:
    with pytest.raises(BadRequest, match=f"{name.lower()}.*{near}") as caught:
        hints({name.lower(): "0.5"})
    assert caught.value.code == "unknown_option"


def test_router_headers_stand_once() -> None:
    clock = Clock()
    clock.lap("parse")
    clock.lap("decide")
    clock.lap("upstream")
    steps = (Step("policy", "one"), Step("budget", "zwei ü\r\n"))
    decision = Decision("small", "auto", "policy", steps=steps)
    asked = call(hints=Hints(explain=True))
    said = pairs(headers.of_router(asked, decision, "large", "fallback:1", clock))
    head = dict(said)
    assert len(head) == len(said) == 7
    assert (head["x-router-model"], head["x-router-reason"]) == ("large", "fallback:1")
    assert head["x-router-route"] == "auto"
    assert head["x-router-explain"] == "policy: one | budget: zwei ???"
    assert head["x-router-request-id"] == "req_test"
    # the decision's time does not count the upstream's
    laps = clock.laps["parse"] + clock.laps["decide"]
    assert float(head["x-router-decision-ms"]) == pytest.approx(laps, abs=0.001)
    assert [part.split(";")[0] for part in head["Server-Timing"].split(", ")] == [
        "parse",
        "decide",
        "upstream",
    ]


@pytest.mark.parametrize(
    "ms", [0.0, 0.0004, 0.004, 0.0051, 0.0996, 0.996, 1.005, 9.9951, 10.0, 60_000.126, 3.6e9]
)
def test_times_are_written_to_the_places_that_they_were_rounded_to(ms: float) -> None:
    clock = Clock()
    clock.laps = {"parse": ms}
    said = dict(
        pairs(headers.of_router(call(), Decision("m", "r", "policy"), "m", "policy", clock))
    )
    decision, timing = (
        said["x-router-decision-ms"],
        said["Server-Timing"].removeprefix("parse;dur="),
    )
    assert (len(decision.partition(".")[2]), len(timing.partition(".")[2])) == (3, 2)
    assert float(decision) == pytest.approx(ms, abs=0.000501)
    assert float(timing) == pytest.approx(ms, abs=0.00501)


def test_a_candidate_of_no_probability_is_told_without_one() -> None:
    candidates = (Candidate("small", None, 0.001), Candidate("large", 0.5, 0.002))
    decision = Decision("small", "auto", "policy", candidates=candidates)
    asked = call(hints=Hints(explain=True))
    said = dict(pairs(headers.of_router(asked, decision, "small", "policy", Clock())))
    assert said["x-router-explain"] == "small for 0.001 USD | large has 0.500 for 0.002 USD"


def test_the_chain_is_told_only_to_who_asked() -> None:
    said = headers.of_router(
        call(), Decision("small", "auto", "policy"), "small", "policy", Clock()
    )
    assert b"x-router-explain" not in said
