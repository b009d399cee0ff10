"""``sidecar serve`` as a process: what it says, how it stops, what it never tells."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.conftest import config_for
from tests.support.process import GENEROUS, Process, serve
from tests.support.raw_upstream import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    RawUpstream,
    answer,
    chunk,
    event,
    raw,
)
from tests.support.wire import Reply, Wire, chat, exchange, post

Begin = Callable[..., Awaitable[Process]]
SECRET = "sk-upstreams-own"


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    begun: list[Process] = []

    async def one(config: Any, *options: str, **env: str) -> Process:
        begun.append(await serve(tmp_path / "sidecar.yaml", config, *options, env=env))
        return begun[-1]

    yield one
    for process in begun:
        await process.kill()


def config_of(upstream: RawUpstream) -> dict[str, Any]:
    config: dict[str, Any] = config_for(upstream.url)
    config["drain_s"] = 20.0
    return config


async def get(address: str, path: str) -> Reply:
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    return await exchange(address, request)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_it_says_in_one_line_which_classifier_and_why(
    begin: Begin, upstream: RawUpstream
) -> None:
    sidecar = await begin(config_of(upstream))
    await sidecar.serving()
    (line,) = sidecar.stdout.splitlines()
    assert line.startswith("classifier: onnx (auto: ")
    assert (await exchange(sidecar.listen, post(chat()))).status == 200
    sidecar.terminate()
    assert await sidecar.ended() == 0
    assert sidecar.stdout.splitlines() == [line]


async def test_a_configured_classifier_is_the_one_that_serves(
    begin: Begin, upstream: RawUpstream
) -> None:
    config = config_of(upstream)
    config["classifier"] = {"backend": "heuristic"}
    sidecar = await begin(config)
    await sidecar.serving()
    assert sidecar.stdout.startswith("classifier: heuristic (configured)")
    assert (await get(sidecar.admin, "/readyz")).json["backend"] == "heuristic"


async def test_listen_and_admin_are_as_told_and_apart(begin: Begin, upstream: RawUpstream) -> None:
    listen, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    sidecar = await begin(config_of(upstream), "--listen", listen, "--admin", admin)
    await sidecar.serving()
    assert (sidecar.listen, sidecar.admin) == (listen, admin)
    for path in ("/livez", "/readyz", "/metrics", "/admin/explain", "/admin/kill-switch", "/"):
        assert (await get(listen, path)).status == 404
    assert (await get(admin, "/v1/models")).status == 404
    assert (await exchange(admin, post(chat()))).status == 404


async def test_sigterm_drains_a_stream_in_flight_and_readyz_tells(
    begin: Begin, upstream: RawUpstream
) -> None:
    go_on = asyncio.Event()
    one, two = event({"content": "one"}), event({"content": "two"})

    async def play(seen: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(one))
        await go_on.wait()
        writer.write(chunk(two + DONE) + LAST_CHUNK)

    upstream.script = play
    sidecar = await begin(config_of(upstream))
    await sidecar.serving()
    ready = await get(sidecar.admin, "/readyz")
    assert (ready.status, ready.json["mode"]) == (200, "ready")
    async with await Wire.to(sidecar.listen) as wire, await Wire.to(sidecar.listen) as idle:
        idle.send(post(chat(model="nobody")))
        assert (await idle.reply()).status == 404
        wire.send(post(chat(stream=True)))
        await wire.head()
        assert await wire.chunk() == one
        sidecar.terminate()
        async with asyncio.timeout(20):
            while (ready := await get(sidecar.admin, "/readyz")).status == 200:
                await asyncio.sleep(0.02)
        assert (ready.status, ready.json["mode"]) == (503, "draining")
        assert (await get(sidecar.admin, "/livez")).status == 200
        assert await idle.closed()  # nothing in flight on it: it need not wait
        with pytest.raises(ConnectionError):
            await Wire.to(sidecar.listen)
        go_on.set()
        assert await wire.chunk() == two + DONE
        assert await wire.chunk() == b""
        assert sidecar.children() == []
    assert await sidecar.ended() == 0


async def test_a_stream_without_end_does_not_hold_the_process_beyond_the_drain(
    begin: Begin, upstream: RawUpstream
) -> None:
    upstream.script = raw(STREAM_HEAD, chunk(event({"content": "x"})), 3600.0)
    config = config_of(upstream)
    config["drain_s"] = 0.5
    sidecar = await begin(config)
    await sidecar.serving()
    async with await Wire.to(sidecar.listen) as wire:
        wire.send(post(chat(stream=True)))
        await wire.head()
        await wire.chunk()
        sidecar.terminate()
        assert await sidecar.ended() == 0
    async with asyncio.timeout(20):
        await upstream.gone.wait()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_an_interrupt_while_draining_cuts_what_is_in_flight(
    begin: Begin, upstream: RawUpstream, workers: str
) -> None:
    upstream.script = raw(STREAM_HEAD, chunk(event({"content": "x"})), 3600.0)
    config = config_of(upstream)
    config["drain_s"] = 600.0
    sidecar = await begin(config, "--workers", workers)
    await sidecar.serving()
    async with await Wire.to(sidecar.listen) as wire:
        wire.send(post(chat(stream=True)))
        await wire.head()
        await wire.chunk()
        sidecar.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(GENEROUS):
            while "an interrupt cuts them off" not in sidecar.stderr:
                await asyncio.sleep(0.02)
            assert sidecar.process.returncode is None  # the first one lets it finish
            # a worker that has not heard yet that it is to drain passes over an early one
            while not upstream.gone.is_set():
                sidecar.process.send_signal(signal.SIGINT)
                await asyncio.sleep(0.2)
        assert await sidecar.ended() == 0
    assert "Traceback" not in sidecar.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_an_idle_process_with_0(
    begin: Begin, upstream: RawUpstream, number: signal.Signals
) -> None:
    sidecar = await begin(config_of(upstream))
    await sidecar.serving()
    sidecar.process.send_signal(number)
    assert await sidecar.ended() == 0
    assert "Traceback" not in sidecar.said


async def test_a_bad_config_exits_2_with_file_line_and_key(
    begin: Begin, upstream: RawUpstream, tmp_path: Path
) -> None:
    text = f"upstreams:\n  up: {{base_url: {upstream.url}}}\nmodels:\n  m: {{upstrm: up}}\n"
    sidecar = await begin(text)
    assert await sidecar.ended() == 2
    assert f"{tmp_path / 'sidecar.yaml'}:4: models.m.upstrm: unknown key" in sidecar.stderr
    assert f"{tmp_path / 'sidecar.yaml'}:4: models.m.price: is required" in sidecar.stderr
    assert "Traceback" not in sidecar.said


async def test_an_address_in_use_is_a_sentence_and_not_a_traceback(
    begin: Begin, upstream: RawUpstream
) -> None:
    taken = upstream.url.split("/")[2]
    sidecar = await begin(config_of(upstream), "--listen", taken, "--admin", "127.0.0.1:0")
    assert await sidecar.ended() == 1
    said = f"Cannot listen on {taken}: Address already in use. Another process is there: end it, or"
    assert said in sidecar.stderr
    assert "Traceback" not in sidecar.said


async def test_a_missing_key_variable_is_named_at_the_start(
    begin: Begin, upstream: RawUpstream, tmp_path: Path
) -> None:
    config = config_of(upstream)
    config["upstreams"]["local"]["api_key_env"] = "POINTSMAN_TEST_NO_SUCH_KEY"
    sidecar = await begin(config)
    await sidecar.serving()
    assert "POINTSMAN_TEST_NO_SUCH_KEY is not set" in sidecar.stderr
    assert (await exchange(sidecar.listen, post(chat()))).status == 200  # and it serves


async def test_an_address_for_others_that_asks_for_no_token_is_warned_of(
    begin: Begin, upstream: RawUpstream
) -> None:
    sidecar = await begin(config_of(upstream), "--listen", "0.0.0.0:0", "--admin", "127.0.0.1:0")
    await sidecar.serving()
    said = "--listen 0.0.0.0:0: others than this machine reach it, and without listen_token_env"
    assert said in sidecar.stderr
    assert "--admin" not in sidecar.stderr


async def test_neither_prompts_nor_keys_are_in_what_it_says(
    begin: Begin, upstream: RawUpstream
) -> None:
    config = config_of(upstream)
    for spec in config["upstreams"].values():
        spec.update(api_key_env="UP_KEY", timeouts={"first_content_s": 0.3})
    config["limits"] = {"max_header_kb": 8, "body_timeout_s": 0.3}
    sidecar = await begin(config, UP_KEY=SECRET)
    await sidecar.serving()
    mine = "Content-Type: application/json\r\nAuthorization: Bearer CALLERKEY\r\n"
    told = [
        post(chat("MYPROMPT"), headers=mine),
        post(chat("MYPROMPT", stream=True), headers=mine),
        post(chat("MYPROMPT", model="nobody"), headers=mine),
        post(b'{"model":"auto","messages":[{"role":"user","content":"MYPROMPT'),
        post({"model": "auto", "messages": "MYPROMPT"}),
        post(b"\xff MYPROMPT"),
        b"MYPROMPT\r\nCALLERKEY\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nMYPROMPT CALLERKEY\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nAuthorization: CALLERKEY\x00\r\n\r\n",
        post(chat(), headers=f"Authorization: {'CALLERKEY' * 5000}\r\n"),
        post(b"MYPROMPT", headers="Content-Encoding: gzip\r\n"),
        post(chat("MYPROMPT"), headers="Content-Type: CALLERKEY\r\n"),
        post(chat("MYPROMPT"), headers=mine + "x-router-quality: CALLERKEY\r\n"),
        post(chat("MYPROMPT"))[:-4],
        post(b"", path="/MYPROMPT?key=CALLERKEY", method="GET"),
    ]
    scripts = [
        answer(),
        answer(b"garbage MYPROMPT"),
        answer(b'{"error":"MYPROMPT CALLERKEY"}', "401 Unauthorized"),
        raw(b"HTTP/1.1 MYPROMPT\r\n\r\n"),
        raw(STREAM_HEAD, chunk(event({"content": "MYPROMPT"})), b"MYPROMPT\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nMYPROMPT CALLERKEY\r\n\r\n"),
        raw(5.0),
    ]
    for request in told:
        await exchange(sidecar.listen, request)
    for script in scripts:
        upstream.script = script
        for request in told[:2]:
            await exchange(sidecar.listen, request)
    metrics = (await get(sidecar.admin, "/metrics")).body.decode()
    readyz = (await get(sidecar.admin, "/readyz")).body.decode()
    sidecar.terminate()
    assert await sidecar.ended() == 0
    assert upstream.seen[0].header("authorization") == [f"Bearer {SECRET}"]
    for text in (sidecar.said, metrics, readyz):
        for secret in (SECRET, "CALLERKEY", "MYPROMPT"):
            assert secret not in text


@pytest.mark.parametrize(
    "options",
    [
        ("--listen", "8080"),
        ("--listen", "h:99999"),
        ("--listen", "http://127.0.0.1:8080"),
        ("--admin", "h:x"),
        ("--admin", "unix:/tmp/admin.sock"),
        ("--bogus",),
    ],
)
async def test_a_bad_option_exits_2_with_its_use(
    begin: Begin, upstream: RawUpstream, options: tuple[str, ...]
) -> None:
    sidecar = await begin(config_of(upstream), *options)
    assert await sidecar.ended() == 2
    assert options[0].lstrip("-") in sidecar.stderr


async def test_a_log_in_json_is_json_from_its_first_line_to_its_last(
    begin: Begin, config: dict[str, object]
) -> None:
    process = await begin({**config, "log": {"format": "json"}})
    async with asyncio.timeout(GENEROUS):
        while "serving on" not in process.stderr:
            await asyncio.sleep(0.02)
    process.terminate()
    assert await process.ended() == 0
    said = [orjson.loads(line) for line in process.stderr.splitlines()]
    assert {"time", "level", "logger", "message"} <= said[0].keys()
    assert any(line["message"].startswith("draining") for line in said)
