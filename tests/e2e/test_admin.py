"""The admin port: probes that tell the truth, metrics, reload, the kill switch, explain."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from sidecar.errors import ClassifierLate
from sidecar.runtime import Mode
from sidecar.types import Features, Reading
from tests.conftest import Running, Start, by_word
from tests.support.raw_upstream import DONE, LAST_CHUNK, STREAM_HEAD, RawUpstream, chunk, event, raw
from tests.support.wire import Reply, Wire, chat, exchange, post


@pytest.fixture
async def sidecar(start: Start, config: dict[str, object]) -> Running:
    return await start(config)


async def admin(
    sidecar: Running, method: str, path: str, body: Any = b"", headers: str = ""
) -> Reply:
    return await exchange(sidecar.app.admin, post(body, path=path, method=method, headers=headers))


async def ask(sidecar: Running, text: str = "hello", **fields: Any) -> Reply:
    return await exchange(sidecar.app.listen, post(chat(text, **fields)))


def rewrite(sidecar: Running, config: dict[str, Any]) -> Path:
    file = sidecar.app.runtime.config_file
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return file


# -- probes and metrics ---------------------------------------------------------------


async def test_livez_says_alive(sidecar: Running) -> None:
    reply = await admin(sidecar, "GET", "/livez")
    assert (reply.status, reply.json["status"]) == (200, "alive")


async def test_readyz_says_what_serves(sidecar: Running) -> None:
    reply = await admin(sidecar, "GET", "/readyz")
    assert reply.status == 200
    assert reply.json["mode"] == "ready"
    assert reply.json["backend"] == "dummy"
    snapshot = sidecar.app.runtime.snapshot
    assert reply.json["config"] == {"generation": 1, "hash": snapshot.digest}


@pytest.mark.parametrize("mode", [Mode.STARTING, Mode.DRAINING])
async def test_readyz_is_503_while_not_ready(sidecar: Running, mode: Mode) -> None:
    sidecar.app.runtime.mode = mode
    reply = await admin(sidecar, "GET", "/readyz")
    assert (reply.status, reply.json["mode"]) == (503, str(mode))
    assert (await admin(sidecar, "GET", "/livez")).status == 200


def samples(reply: Reply) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


async def test_metrics_parse_and_count_what_happened(sidecar: Running) -> None:
    for text, fields in (
        ("hello", {}),
        ("HARD", {}),
        ("hello", {"model": "small"}),
        ("x", {"model": "y"}),
    ):
        await ask(sidecar, text, **fields)
    reply = await admin(sidecar, "GET", "/metrics")
    assert reply.status == 200
    assert reply.header("content-type")[0].startswith("text/plain")
    found = samples(reply)

    def value(name: str, **labels: str) -> float:
        return found[(name, frozenset(labels.items()))]

    for route, model, reason in (
        ("auto", "small", "policy"),
        ("auto", "large", "policy"),
        ("-", "small", "explicit"),
    ):
        labels = {"route": route, "model": model, "reason": reason}
        assert value("router_decisions_total", **labels) == 1
    assert value("router_answers_total", model="small", status="200", ended="complete") == 2
    assert value("router_tokens_total", route="auto", model="large", kind="input") == 11
    assert value("router_tokens_total", route="auto", model="large", kind="output") == 7
    cost = (11 * 2.5 + 7 * 10) / 1e6
    assert value("router_cost_usd_total", route="auto", model="large") == pytest.approx(cost)
    assert value("router_refused_total", status="404", code="model_not_found") == 1
    assert value("router_in_flight") == 0
    assert value("router_config_generation") == 1
    assert value("router_decision_seconds_count", backend="dummy") == 3


async def test_what_callers_send_does_not_grow_the_labels(sidecar: Running) -> None:
    await ask(sidecar)
    await ask(sidecar, model="nobody")
    before = set(samples(await admin(sidecar, "GET", "/metrics")))
    for i in range(30):
        await ask(sidecar, f"text {i}", model=f"model-{i}")
        fields = (
            f"Content-Type: application/json\r\nx-router-tenant: t{i}\r\nx-router-session: s{i}\r\n"
        )
        await exchange(sidecar.app.listen, post(chat(f"text {i}"), headers=fields))
        await exchange(sidecar.app.listen, post(chat(), path=f"/v1/{i}"))
        await exchange(sidecar.app.listen, post(chat(), method=f"M{i}"))
    after = set(samples(await admin(sidecar, "GET", "/metrics")))
    grown = {name for name, _ in after - before}
    assert grown <= {"router_refused_total", "router_refused_created"}
    assert len(after - before) <= 4  # a 404 and a 405, by status and code


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("POST", "/livez", 405), ("GET", "/admin/reload", 405)],
)
async def test_what_is_not_served_is_an_error_in_json(
    sidecar: Running, method: str, path: str, status: int
) -> None:
    reply = await admin(sidecar, method, path)
    assert reply.status == status
    assert reply.json["error"]["request_id"]


# -- reload ---------------------------------------------------------------------------


async def test_a_good_reload_takes_and_says_so(sidecar: Running, config: dict[str, Any]) -> None:
    old = (await admin(sidecar, "GET", "/readyz")).json["config"]
    config["routes"]["auto"] |= {"policy": "fixed", "default": "small"}
    rewrite(sidecar, config)
    reply = await admin(sidecar, "POST", "/admin/reload")
    assert (reply.status, reply.json["generation"]) == (200, 2)
    new = (await admin(sidecar, "GET", "/readyz")).json["config"]
    assert new["generation"] == 2
    assert new["hash"] != old["hash"]
    assert (await ask(sidecar, "HARD")).header("x-router-model") == ["small"]
    found = samples(await admin(sidecar, "GET", "/metrics"))
    assert found[("router_config_generation", frozenset())] == 2


@pytest.mark.parametrize("breakage", ["typo", "half", "gone", "unknown model", "empty"])
async def test_a_bad_reload_keeps_the_last_good(
    sidecar: Running, config: dict[str, Any], breakage: str
) -> None:
    old = (await admin(sidecar, "GET", "/readyz")).json["config"]
    file = sidecar.app.runtime.config_file
    if breakage == "gone":
        file.unlink()
    elif breakage == "half":
        text = file.read_text()
        file.write_text(text[: len(text) // 2] + "\n  - [")
    elif breakage == "empty":
        file.write_text("")
    elif breakage == "typo":
        rewrite(sidecar, {**config, "modles": {}})
    else:
        config["routes"]["auto"]["default"] = "nobody"
        rewrite(sidecar, config)
    reply = await admin(sidecar, "POST", "/admin/reload")
    assert reply.status == 400
    assert reply.json["kept_generation"] == 1
    assert all(fault.startswith(str(file)) for fault in reply.json["faults"])
    assert (await admin(sidecar, "GET", "/readyz")).json["config"] == old
    assert (await ask(sidecar)).status == 200


@pytest.mark.parametrize("key", ["listen", "admin"])
async def test_what_only_a_restart_can_change_is_refused(
    sidecar: Running, config: dict[str, Any], key: str
) -> None:
    rewrite(sidecar, {**config, key: "127.0.0.1:1"})
    reply = await admin(sidecar, "POST", "/admin/reload")
    assert reply.status == 400
    assert f"{key}: changing it needs a restart" in reply.json["faults"][0]


async def test_a_request_in_flight_keeps_the_config_it_began_with(
    sidecar: Running, config: dict[str, Any], upstream: RawUpstream, second: RawUpstream
) -> None:
    go_on = asyncio.Event()

    async def play(seen: Any, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}")

    upstream.script = play
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat()))
        while not upstream.seen:
            await asyncio.sleep(0.01)
        config["models"]["large"]["upstream_model"] = "huge-2"
        config["routes"]["auto"] |= {"models": ["small"], "default": "small"}
        rewrite(sidecar, config)
        assert (await admin(sidecar, "POST", "/admin/reload")).status == 200
        go_on.set()
        reply = await wire.reply()
    assert (reply.status, reply.header("x-router-model")) == (200, ["large"])
    assert second.seen[0].json["model"] == "huge-1"  # as it was when the request came
    assert (await ask(sidecar, model="large")).status == 200
    assert second.seen[1].json["model"] == "huge-2"


async def test_a_stream_survives_a_reload(
    sidecar: Running, config: dict[str, Any], upstream: RawUpstream
) -> None:
    go_on = asyncio.Event()
    one, two = event({"content": "one"}), event({"content": "two"})

    async def play(seen: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(one))
        await go_on.wait()
        writer.write(chunk(two + DONE) + LAST_CHUNK)

    upstream.script = play
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat(stream=True)))
        await wire.head()
        assert await wire.chunk() == one
        del config["models"]["small"]
        config["routes"]["auto"]["models"] = ["large"]
        rewrite(sidecar, config)
        assert (await admin(sidecar, "POST", "/admin/reload")).status == 200
        go_on.set()
        assert await wire.chunk() == two + DONE
        assert await wire.chunk() == b""


# -- the kill switch ------------------------------------------------------------------


async def test_the_kill_switch_pins_every_request_until_it_is_off(
    sidecar: Running, upstream: RawUpstream
) -> None:
    assert (await admin(sidecar, "GET", "/admin/kill-switch")).json == {"model": None}
    reply = await admin(sidecar, "POST", "/admin/kill-switch", {"model": "small"})
    assert reply.status == 200
    assert (await admin(sidecar, "GET", "/readyz")).json["kill_switch"] == "small"
    for fields in ({}, {"model": "large"}, {"model": "small"}):
        reply = await ask(sidecar, "HARD", **fields)
        assert reply.header("x-router-model") == ["small"]
        assert reply.header("x-router-reason") == ["kill-switch"]
    assert all(seen.json["model"] == "tiny-1" for seen in upstream.seen)
    assert (await ask(sidecar, model="nobody")).status == 404
    assert (await admin(sidecar, "DELETE", "/admin/kill-switch")).status == 200
    assert (await ask(sidecar, model="large")).header("x-router-reason") == ["explicit"]
    assert (await ask(sidecar)).header("x-router-reason") == ["policy"]


async def test_the_kill_switch_of_an_unknown_model_is_404_and_changes_nothing(
    sidecar: Running,
) -> None:
    reply = await admin(sidecar, "POST", "/admin/kill-switch", {"model": "nobody"})
    assert reply.status == 404
    assert "large, small" in reply.json["error"]["message"]
    assert (await ask(sidecar)).header("x-router-reason") == ["policy"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"model":1}', b'{"model":null}'])
async def test_a_kill_switch_that_names_nothing_is_400(sidecar: Running, body: bytes) -> None:
    reply = await admin(sidecar, "POST", "/admin/kill-switch", body)
    assert reply.status == 400
    assert reply.json["error"]["message"]
    assert sidecar.app.runtime.pinned is None


async def test_a_reload_may_not_take_the_pinned_model_away(
    sidecar: Running, config: dict[str, Any]
) -> None:
    await admin(sidecar, "POST", "/admin/kill-switch", {"model": "small"})
    del config["models"]["small"]
    config["routes"]["auto"]["models"] = ["large"]
    rewrite(sidecar, config)
    reply = await admin(sidecar, "POST", "/admin/reload")
    assert reply.status == 400
    assert "kill switch names 'small'" in reply.json["faults"][0]
    assert (await ask(sidecar)).header("x-router-model") == ["small"]


# -- explain --------------------------------------------------------------------------

PICTURE = [{"type": "image_url", "image_url": {"url": "data:,"}}]
ASKED = [
    chat("hello"),
    chat("HARD"),
    chat("hello", model="large"),
    chat("hello", stream=True, tools=[{"type": "function", "function": {"name": "f"}}]),
    {"model": "auto", "messages": [{"role": "user", "content": PICTURE}]},
    {"model": "auto", "messages": [{"role": "user", "content": ""}]},
    chat("x" * 60_000),
]


@pytest.mark.parametrize("number", range(len(ASKED)))
async def test_explain_decides_as_the_wire_does(
    sidecar: Running, upstream: RawUpstream, second: RawUpstream, number: int
) -> None:
    story = await admin(sidecar, "POST", "/admin/explain", ASKED[number])
    assert upstream.seen == second.seen == []
    reply = await exchange(sidecar.app.listen, post(ASKED[number]))
    assert story.status == reply.status == 200
    for name in ("model", "route", "reason"):
        assert reply.header(f"x-router-{name}") == [story.json[name]]
    assert story.json["steps"]
    assert all(step["stage"] and step["verdict"] for step in story.json["steps"])


async def test_explain_tells_the_candidates_and_the_reading(sidecar: Running) -> None:
    story = (await admin(sidecar, "POST", "/admin/explain", chat("HARD"))).json
    assert [candidate["model"] for candidate in story["candidates"]] == ["small", "large"]
    assert story["reading"]["difficulty"] == 0.97
    assert story["fallbacks"] == ["small"]
    assert set(story["timings_ms"]) == {"parse", "classify", "decide"}


async def test_explain_heeds_the_kill_switch_and_the_callers_options(sidecar: Running) -> None:
    fields = "Content-Type: application/json\r\nx-router-quality: 0\r\n"
    story = await admin(sidecar, "POST", "/admin/explain", chat("HARD"), fields)
    assert story.json["model"] == "small"
    await admin(sidecar, "POST", "/admin/kill-switch", {"model": "large"})
    story = await admin(sidecar, "POST", "/admin/explain", chat("hello"))
    assert (story.json["model"], story.json["reason"]) == ("large", "kill-switch")


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"[]", 400), (orjson.dumps({"model": "auto"}), 400), (chat(model="x"), 404)],
)
async def test_explain_refuses_what_the_wire_refuses(
    sidecar: Running, body: Any, status: int
) -> None:
    story = await admin(sidecar, "POST", "/admin/explain", body)
    wire = await exchange(sidecar.app.listen, post(body))
    assert story.status == wire.status == status
    assert story.json["error"]["message"] == wire.json["error"]["message"]


async def test_the_callers_explain_header_tells_the_chain(sidecar: Running) -> None:
    fields = "Content-Type: application/json\r\nx-router-explain: 1\r\n"
    reply = await exchange(sidecar.app.listen, post(chat(), headers=fields))
    (chain,) = reply.header("x-router-explain")
    assert "capability: " in chain
    assert "policy: cost_quality" in chain


# -- the probes' own address ----------------------------------------------------------


async def test_probes_and_metrics_on_their_own_address_and_no_control(
    start: Start, config: dict[str, object]
) -> None:
    sidecar = await start({**config, "probes": "127.0.0.1:0"})
    probes = sidecar.app.probes
    assert len({probes, sidecar.app.admin, sidecar.app.listen}) == 3
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await exchange(probes, post(b"", path=path, method="GET"))).status == 200
    for method, path, body in (
        ("POST", "/admin/kill-switch", {"model": "small"}),
        ("DELETE", "/admin/kill-switch", b""),
        ("POST", "/admin/reload", b""),
        ("POST", "/admin/explain", chat()),
        ("POST", "/v1/chat/completions", chat()),
        ("GET", "/", b""),
    ):
        reply = await exchange(probes, post(body, path=path, method=method))
        assert reply.status == 404, path
    assert sidecar.app.runtime.pinned is None
    assert sidecar.app.runtime.snapshot.generation == 1
    sidecar.app.runtime.mode = Mode.DRAINING
    assert (await exchange(probes, post(b"", path="/readyz", method="GET"))).status == 503


async def test_what_no_candidate_answered_is_a_failed_answer_and_is_not_refused_too(
    sidecar: Running, upstream: RawUpstream
) -> None:
    upstream.script = raw()  # closes without a word
    assert (await ask(sidecar, model="small")).status == 502
    assert (await ask(sidecar, model="nobody")).status == 404
    figures = (await admin(sidecar, "GET", "/admin/live")).json["figures"]
    assert (figures["failed"], figures["refused"]) == (1, 1)


class Late:
    """A classifier whose first readings come too late."""

    name, why, version, queued, shed = "late", "", "dummy-1", 0, 0

    def __init__(self, late: int) -> None:
        self.left = late

    async def classify(self, features: Features) -> Reading:
        self.left -= 1
        if self.left >= 0:
            raise ClassifierLate("the decision deadline passed")
        return by_word(features.window)

    async def close(self) -> None:
        return


async def test_who_asks_for_reasons_waits_for_a_reading_that_a_request_would_not_have(
    start: Start, config: dict[str, object]
) -> None:
    classifier = Late(0)
    sidecar = await start(config, classifier=classifier)
    for late, reason, told in ((2, "policy", 2), (99, "deadline", 4)):
        classifier.left = late
        story = (await admin(sidecar, "POST", "/admin/explain", chat("HARD"))).json
        assert (story["reason"], story["late"]) == (reason, told)
        assert (story["reading"] is None) == (reason == "deadline")
    assert (await ask(sidecar, "HARD")).header("x-router-reason") == ["deadline"]
