"""What ``sidecar serve`` promises over its own encoder and over the real Triton server.

Two processes, alike but for ``classifier.backend``, before the same upstreams: every test but
the last three is one body over either. ``triton`` has no CPU path to hide behind, so each of its
``policy`` decisions was read by the server.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from sidecar import demo
from sidecar.encoder.bundle import Bundle
from tests.conftest import config_for
from tests.support.process import Process, serve
from tests.support.raw_upstream import (
    ANSWER,
    DONE,
    MESSAGE,
    RawUpstream,
    Seen,
    answer,
    event,
    stream,
)
from tests.support.triton import TritonServer
from tests.support.wire import Reply, chat, exchange, post

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

PATIENT: dict[str, Any] = {"deadline_ms": 10_000}
BACKENDS: dict[str, dict[str, Any]] = {
    "onnx": PATIENT | {"backend": "onnx"},
    "triton": PATIENT
    | {"backend": "triton", "triton": {"fallback": "none", "deadline_ms": 10_000}},
}
ONCE = ("model", "route", "reason", "decision-ms", "request-id")
DELTAS = [event({"role": "assistant"}), event({"content": "hel"}), event({"content": "lo"})]
EVENTS = [*DELTAS, event({}, "stop"), DONE]
ODD = [
    "",
    " ",
    "\x00",
    "\ue000\ue001",
    "🏳️‍🌈" * 300,
    "日本語" * 500,
    "[UNK][PAD]<s></s>",
    "a" * 500_000,
]
HEADERS = "Content-Type: application/json\r\nx-router-explain: 1\r\n"


def frame(kind: str, **fields: Any) -> bytes:
    """One event of a streamed message."""
    data = orjson.dumps({"type": kind, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


FRAMES = [
    frame("message_start", message={**MESSAGE, "content": [], "stop_reason": None}),
    frame("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    frame("content_block_delta", index=0, delta={"type": "text_delta", "text": "hello"}),
    frame("content_block_stop", index=0),
    frame("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7}),
    frame("message_stop"),
]


async def play(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Answer as the API does that was asked."""
    spoken = "/messages" in seen.line
    if seen.json.get("stream"):
        await stream(*(FRAMES if spoken else EVENTS))(seen, writer)
    else:
        await answer(orjson.dumps(MESSAGE if spoken else ANSWER))(seen, writer)


@dataclass
class Both:
    """The processes by backend, and what is behind them."""

    upstream: RawUpstream
    triton: TritonServer
    running: dict[str, Process]

    def classifier(self, backend: str) -> dict[str, Any]:
        """The section of the configuration for one of :data:`BACKENDS`."""
        settings = BACKENDS[backend]
        if "triton" not in settings:
            return settings
        return {**settings, "triton": {**settings["triton"], "url": self.triton.url}}


def config_of(url: str, classifier: dict[str, Any]) -> dict[str, Any]:
    """Two models that speak OpenAI's API, and the same two that speak Anthropic's."""
    config: dict[str, Any] = config_for(url)
    config["upstreams"]["claude"] = {"base_url": url, "dialect": "anthropic"}
    for name in ("small", "large"):
        config["models"][name]["context"] = 1_000_000  # the longest of ODD has room in either
        config["models"][f"{name}-claude"] = {**config["models"][name], "upstream": "claude"}
    config["routes"]["claude"] = {
        **config["routes"]["auto"],
        "models": ["small-claude", "large-claude"],
        "default": "large-claude",
    }
    config["decision_cache"] = {"entries": 0}  # every prompt is read
    config["classifier"] = classifier
    return config


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def both(
    triton_server: TritonServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Both]:
    upstream = RawUpstream(play)
    await upstream.start()
    running: dict[str, Process] = {}
    both = Both(upstream, triton_server, running)
    for name in BACKENDS:
        file = tmp_path_factory.mktemp(name) / "sidecar.yaml"
        running[name] = await serve(file, config_of(upstream.url, both.classifier(name)))
    try:
        for process in running.values():
            await process.serving()
        yield both
        for process in running.values():
            process.terminate()
        assert [await process.ended() for process in running.values()] == [0, 0]
        assert [process.stderr.count("Traceback") for process in running.values()] == [0, 0]
    finally:
        for process in running.values():
            await process.kill()
        await upstream.stop()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sidecar(both: Both, backend: str) -> Process:
    both.upstream.seen.clear()
    return both.running[backend]


async def ask(sidecar: Process, body: dict[str, Any], path: str = "/v1/chat/completions") -> Reply:
    return await exchange(sidecar.listen, post(body, path=path, headers=HEADERS))


async def get(address: str, path: str) -> Reply:
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    return await exchange(address, request)


def decided(reply: Reply, reason: str = "policy") -> str:
    """The model that was chosen; every header of the router's is there once, with ``reason``."""
    assert reply.status == 200, reply.body
    for name in ONCE:
        assert len(reply.header(f"x-router-{name}")) == 1, name
    assert reply.header("x-router-reason") == [reason]
    assert float(reply.header("x-router-decision-ms")[0]) > 0
    (timing,) = reply.header("server-timing")
    laps = set(re.findall(r"(\w+);dur=", timing))
    assert laps >= {"parse", "decide", "upstream"} | ({"classify"} if reason == "policy" else set())
    return reply.header("x-router-model")[0]


async def test_it_says_which_backend_reads_and_is_ready(sidecar: Process, backend: str) -> None:
    (line,) = sidecar.stdout.splitlines()
    assert line.startswith(f"classifier: {backend} (configured")
    assert Bundle.load().version in line
    ready = await get(sidecar.admin, "/readyz")
    assert (ready.status, ready.json["mode"], ready.json["backend"]) == (200, "ready", backend)
    assert set(ready.json["config"]) == {"generation", "hash"}


async def test_a_chat_goes_where_the_reading_says(both: Both, sidecar: Process) -> None:
    body = chat("What is the capital of France?", temperature=0.25, user="é")
    reply = await ask(sidecar, body)
    chosen = decided(reply)
    assert reply.header("x-router-route") == ["auto"]
    assert reply.body == orjson.dumps(ANSWER)
    (seen,) = both.upstream.seen
    wanted = {"small": "tiny-1", "large": "huge-1"}[chosen]
    assert seen.body == orjson.dumps(body).replace(b'"auto"', f'"{wanted}"'.encode())
    assert not [name for name, _ in seen.headers if name.lower().startswith("x-router-")]


async def test_a_streamed_chat_comes_event_by_event(sidecar: Process) -> None:
    reply = await ask(sidecar, chat("Prove that e is irrational.", stream=True))
    decided(reply)
    assert reply.header("x-accel-buffering") == ["no"]
    assert reply.whole
    assert reply.body == b"".join(EVENTS)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_message_goes_to_a_model_that_speaks_its_api(
    both: Both, sidecar: Process, streamed: bool
) -> None:
    body = chat("Translate: good morning", "claude", max_tokens=64, stream=streamed)
    reply = await ask(sidecar, body, "/v1/messages")
    assert decided(reply) in {"small-claude", "large-claude"}
    assert reply.body == (b"".join(FRAMES) if streamed else orjson.dumps(MESSAGE))
    assert both.upstream.seen[0].line.startswith("POST /v1/messages ")


async def test_a_message_is_read_as_a_chat_of_the_same_words(sidecar: Process) -> None:
    text = "Write a Python function that merges two sorted lists."
    one = decided(await ask(sidecar, chat(text)))
    other = decided(await ask(sidecar, chat(text, "claude", max_tokens=64), "/v1/messages"))
    assert other == f"{one}-claude"


async def test_the_chain_of_reasons_is_told_with_the_reading(sidecar: Process) -> None:
    body = chat("Summarise: the cat sat on the mat.")
    reply = await ask(sidecar, body)
    (chain,) = reply.header("x-router-explain")
    assert "policy: " in chain
    assert "small has 0." in chain
    told = (await exchange(sidecar.admin, post(body, path="/admin/explain"))).json
    assert (told["model"], told["reason"]) == (decided(reply), "policy")
    assert told["reading"]["version"] == Bundle.load().version
    assert len(told["reading"]["demand"]) == Bundle.load().demand
    assert sum(told["reading"]["task_probs"].values()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
async def test_any_text_is_answered(sidecar: Process, text: str) -> None:
    reply = await ask(sidecar, chat(text))
    (reason,) = reply.header("x-router-reason")
    assert reason in {"policy", "default"}  # the default's, where there is nothing to read
    assert decided(reply, reason) in {"small", "large"}


async def test_a_named_model_is_not_read_for(sidecar: Process) -> None:
    assert decided(await ask(sidecar, chat(model="small")), "explicit") == "small"


@pytest.mark.parametrize(
    ("body", "status"),
    [(chat(model="nobody"), 404), ({"model": "auto", "messages": []}, 400), ({"model": 5}, 400)],
    ids=["unknown model", "no messages", "no name"],
)
async def test_what_is_no_request_is_refused_before_any_reading(
    both: Both, sidecar: Process, body: dict[str, Any], status: int
) -> None:
    reply = await ask(sidecar, body)
    assert reply.status == status
    assert reply.json["error"]["message"]
    assert both.upstream.seen == []


async def test_a_wish_for_more_quality_is_heeded(sidecar: Process) -> None:
    fields = f"{HEADERS}x-router-quality: 1.0\r\n"
    text = "Prove that the square root of two is irrational, then generalise to every prime."
    strict = await exchange(sidecar.listen, post(chat(text), headers=fields))
    fields = f"{HEADERS}x-router-quality: 0.01\r\n"
    lax = await exchange(sidecar.listen, post(chat(text), headers=fields))
    assert (decided(strict), decided(lax)) == ("large", "small")


async def test_many_at_once_are_each_read(sidecar: Process) -> None:
    replies = await asyncio.gather(*(ask(sidecar, chat(f"What is {i} + {i}?")) for i in range(48)))
    for reply in replies:
        decided(reply)
        assert reply.body == orjson.dumps(ANSWER)
    assert len({reply.header("x-router-request-id")[0] for reply in replies}) == 48


async def test_workers_each_read(both: Both, backend: str, tmp_path: Path) -> None:
    """Each worker has a connection of its own: gRPC must not be handed on to another process."""
    options = ("--workers", "2", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    config = config_of(both.upstream.url, both.classifier(backend))
    several = await serve(tmp_path / "sidecar.yaml", config, *options)
    try:
        await several.serving()
        ready = (await get(several.admin, "/readyz")).json
        assert (ready["backend"], ready["workers"]) == (backend, 2)
        replies = [await ask(several, chat(f"What is {i} + {i}?")) for i in range(24)]
        assert {decided(reply) for reply in replies} <= {"small", "large"}
        several.terminate()
        assert await several.ended() == 0
    finally:
        await several.kill()


# -- the two beside each other --------------------------------------------------------


def real_bodies(count: int) -> list[dict[str, Any]]:
    """Real prompts, evenly over the demo's, as one route's requests."""
    lines = (Path(demo.__file__).parent / "prompts.jsonl").read_bytes().splitlines()
    asked = [orjson.loads(line) for line in lines[:: len(lines) // count]]
    return [{"model": "auto", "messages": each["messages"]} for each in asked]


NUMBER = re.compile(r"\d+\.?\d*(?:e-?\d+)?")


def alike(one: str, other: str) -> bool:
    """Equal but for the last digit of a number: the server pads to its bucket."""
    pairs = zip_longest(NUMBER.findall(one), NUMBER.findall(other), fillvalue="nan")
    near = all(abs(float(a) - float(b)) < 0.0021 for a, b in pairs)
    return near and NUMBER.sub("", one) == NUMBER.sub("", other)


async def test_both_decide_the_same_for_the_same_prompts(both: Both) -> None:
    models = set()
    for body in real_bodies(60) + [chat(text) for text in ODD]:
        replies = [await ask(process, body) for process in both.running.values()]
        ours, servers = replies
        for name in ("model", "route", "reason"):
            assert ours.header(f"x-router-{name}") == servers.header(f"x-router-{name}"), body
        (chain,), (other,) = (reply.header("x-router-explain") for reply in replies)
        assert alike(chain, other), (chain, other)
        models.add(ours.header("x-router-model")[0])
    assert models == {"small", "large"}


async def test_two_chains_that_differ_are_not_alike() -> None:
    said = "policy: cheapest | small has 0.873 for 1.2e-05 USD"
    assert alike(said, said.replace("0.873", "0.874"))
    assert not alike(said, said.replace("0.873", "0.883"))
    assert not alike(said, said.replace("small", "large"))
    assert not alike(said, f"{said} | large has 0.9 for 1 USD")


async def test_the_server_read_what_the_sidecar_over_it_decided(both: Both) -> None:
    """Its own count: no reading came from anywhere else."""

    async def counted(process: Process) -> float:
        said = (await get(process.admin, "/metrics")).body.decode()
        calls = re.findall(r'^router_triton_calls_total\{outcome="ok"\} (\S+)', said, re.MULTILINE)
        return sum(map(float, calls))

    async def asked() -> dict[str, tuple[float, float]]:
        return {
            name: (await counted(process), await asyncio.to_thread(both.triton.inferences))
            for name, process in both.running.items()
        }

    for name, process in both.running.items():
        before = await asked()
        for i in range(10):
            decided(await ask(process, chat(f"Name {i} rivers.")))
        async with asyncio.timeout(30):  # the server counts after it has answered
            while (await asked())[name][1] < before[name][1] + 10 * (name == "triton"):
                await asyncio.sleep(0.05)
        after = await asked()
        grew = [now - then for now, then in zip(after[name], before[name], strict=True)]
        assert grew == ([10, 10] if name == "triton" else [0, 0])
