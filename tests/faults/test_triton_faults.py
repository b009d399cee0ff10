"""The real Triton server dies, freezes, changes and chokes; apps do not notice.

Each fault is met while clients keep asking. With the CPU path the backend changes and
nothing else; without it the reasons do. Once the server is good again, it is used again
within five seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.app import App
from sidecar.config.schema import Triton as Settings
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.served import Served
from tests.conftest import Running
from tests.support.leaks import Leaks
from tests.support.traffic import flowing
from tests.support.triton import TritonServer, needed, serving
from tests.support.wire import exchange

pytestmark = pytest.mark.timeout(300)
RETURN_S = 5.0
SHORT = Served.of(Bundle.load()).name(64)
OTHER_HASH = "0" * 64
INT8 = "model.int8.onnx"
TRIPS = Settings().trip_after  # failures after which the server is not asked


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    needed()
    with serving(tmp_path_factory.mktemp("triton")) as server:
        yield server


@pytest.fixture(autouse=True)
async def clean() -> AsyncIterator[None]:
    """Of this name in the folder too: here descriptors are not counted.

    gRPC keeps a pair of local sockets for every event loop that used it, each test has a loop of
    its own, and the core lets a closed channel's connection go when it likes. That they do not
    grow within one loop is what ``test_fifty_restarts`` of the classifier's unit tests says.
    """
    leaks = Leaks(threads=False, descriptors=False)
    yield
    await leaks.none()


Begin = Callable[..., Awaitable[Running]]


@pytest.fixture
async def begin(
    config: dict[str, Any], triton: TritonServer, tmp_path: Path
) -> AsyncIterator[Begin]:
    """A sidecar over the server; but for its first, the keywords are of ``classifier.triton``."""
    async with contextlib.AsyncExitStack() as stack:

        async def one(classifier_ms: float = 3000, **keys: object) -> Running:
            keys = {"url": triton.url, "deadline_ms": 1500, "recheck_s": 0.3, **keys}
            config["decision_cache"] = {"entries": 0}  # every prompt is read anew
            config["classifier"] = {
                "backend": "triton",
                "deadline_ms": classifier_ms,
                "triton": keys,
            }
            file = tmp_path / "sidecar.yaml"
            file.write_text(yaml.safe_dump(config, sort_keys=False))
            app = await App.start(file, listen="127.0.0.1:0", admin="127.0.0.1:0")
            stack.push_async_callback(app.stop)
            assert backend(Running(app)) == "triton", app.why
            return Running(app)

        yield one


def backend(sidecar: Running) -> str:
    return sidecar.app.runtime.classifier.name


async def becomes(sidecar: Running, name: str, within_s: float = 60.0) -> float:
    """Wait for the backend; seconds that it took."""
    began = time.monotonic()
    while backend(sidecar) != name:
        took = time.monotonic() - began
        assert took < within_s, f"{backend(sidecar)}: {sidecar.app.runtime.classifier.why}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def readiness(sidecar: Running) -> dict[str, Any]:
    request = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    reply = await exchange(sidecar.app.admin, request)
    assert reply.status == 200
    return dict(reply.json)


async def metrics(sidecar: Running) -> str:
    request = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    return (await exchange(sidecar.app.admin, request)).body.decode()


def calls(said: str, outcome: str) -> float:
    """How many calls to Triton ended so, by the sidecar's own metrics."""
    line = rf'^router_triton_calls_total{{outcome="{outcome}"}} (\S+)$'
    found = re.search(line, said, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_a_killed_server_is_replaced_by_the_cpu_path_until_it_is_back(
    begin: Begin, triton: TritonServer
) -> None:
    sidecar = await begin()
    state = await readiness(sidecar)
    assert (state["mode"], state["backend"]) == ("ready", "triton")
    async with flowing(sidecar.url) as traffic:
        await traffic.after(20)
        triton.kill()
        await becomes(sidecar, "onnx")
        await traffic.after(20)
        state = await readiness(sidecar)
        assert (state["mode"], state["backend"]) == ("ready", "onnx")
        assert "not triton: " in state["backend_why"]
        assert "router_triton_degraded 1.0" in await metrics(sidecar)

        triton.start()
        await asyncio.to_thread(triton.wait_ready)
        await becomes(sidecar, "triton", RETURN_S)
        await traffic.after(20)
    assert set(traffic.reasons) == {"policy"}  # an answer of the CPU is as good a reading
    assert set(traffic.answers) == {"hello"}
    said = await metrics(sidecar)
    assert "router_triton_degraded 0.0" in said
    assert 'router_triton_calls_total{outcome="ok"}' in said


async def test_a_frozen_server_changes_reasons_and_is_used_again_when_it_thaws(
    begin: Begin, triton: TritonServer
) -> None:
    sidecar = await begin(fallback="none", deadline_ms=400)
    async with flowing(sidecar.url) as traffic:
        await traffic.after(10)
        triton.signal(signal.SIGSTOP)
        try:
            await becomes(sidecar, "none")
            frozen = len(traffic.reasons) + 4
            await traffic.after(20)
            until = len(traffic.reasons)
        finally:
            triton.signal(signal.SIGCONT)
        await becomes(sidecar, "triton", RETURN_S)
        thawed = len(traffic.reasons) + 4
        await traffic.after(20)
    assert set(traffic.reasons[frozen:until]) <= {"deadline", "classifier-down"}
    assert "policy" in traffic.reasons[thawed:]
    assert set(traffic.answers) == {"hello"}


async def test_an_unloaded_model_is_missed_and_found_again(
    begin: Begin, triton: TritonServer
) -> None:
    sidecar = await begin(fallback="none")
    async with flowing(sidecar.url) as traffic:
        await traffic.after(10)
        await asyncio.to_thread(triton.control, SHORT, "unload")
        await becomes(sidecar, "none")
        assert SHORT in sidecar.app.runtime.classifier.why
        await traffic.after(8)
        assert "classifier-down" in traffic.reasons
        await asyncio.to_thread(triton.control, SHORT, "load")
        await becomes(sidecar, "triton", RETURN_S)
        await traffic.after(8)
    assert traffic.reasons[-1] == "policy"
    assert set(traffic.answers) == {"hello"}


@contextlib.contextmanager
def changed(triton: TritonServer, files: dict[str, Callable[[str], str]]) -> Iterator[None]:
    """The shortest model, loaded with other files; as it was afterwards."""
    folder = triton.repository / SHORT
    kept = {name: (folder / name).read_text() for name in files}
    try:
        for name, change in files.items():
            new = change(kept[name])
            assert new != kept[name]
            (folder / name).write_text(new)
        triton.control(SHORT, "load")
        yield
    finally:
        for name, text in kept.items():
            (folder / name).write_text(text)
        triton.control(SHORT, "load")


def another(key: str) -> dict[str, Callable[[str], str]]:
    """Files of a model that agree with each other and not with the sidecar's encoder."""

    def manifest(text: str) -> str:
        said = json.loads(text)
        if key == "version":
            said["version"] = "0123456789ab"
        elif key == "tokenizer":
            said["files"]["tokenizer.json"] = OTHER_HASH
        else:
            said["labels"]["tier"].reverse()
        return json.dumps(said)

    def config(text: str) -> str:
        served = Served.of(Bundle.load())
        if key == "version":
            return text.replace(served.version, "0123456789ab")
        if key == "tokenizer":
            return text.replace(served.parameters["tokenizer_sha256"], OTHER_HASH)
        order = json.dumps(json.dumps(served.labels["tier"]))
        return text.replace(order, json.dumps(json.dumps(served.labels["tier"][::-1])))

    return {"1/manifest.json": manifest, "config.pbtxt": config}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("version", "encoder_version"),
        ("labels", "labels_tier"),
        ("tokenizer", f"has tokenizer_sha256 {OTHER_HASH}, this sidecar's is "),
    ],
)
async def test_another_encoder_on_the_server_is_not_asked(
    begin: Begin, triton: TritonServer, key: str, said: str
) -> None:
    sidecar = await begin()
    async with flowing(sidecar.url) as traffic:
        with changed(triton, another(key)):
            await becomes(sidecar, "onnx")
            assert "serves another encoder" in sidecar.app.runtime.classifier.why
            assert said in sidecar.app.runtime.classifier.why
            await traffic.after(8)
        await becomes(sidecar, "triton", RETURN_S)
        await traffic.after(8)
    assert set(traffic.answers) == {"hello"}


def corrupted(folder: Path, how: str) -> None:
    """Damage the model in ``folder`` as a bad copy or a careless hand would."""
    manifest, weights = folder / "1" / "manifest.json", folder / "1" / "model.onnx"
    raw, said = weights.read_bytes(), json.loads(manifest.read_text())
    match how:
        case "one bit":
            weights.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        case "cut short":
            weights.write_bytes(raw[: len(raw) // 2])
        case "vouched for":  # its hash is right, and it is no graph
            weights.write_bytes(raw[: len(raw) // 2])
            digest = hashlib.sha256(weights.read_bytes()).hexdigest()
            manifest.write_text(json.dumps(said | {"files": said["files"] | {INT8: digest}}))
        case "tokenizer":
            files = said["files"] | {"tokenizer.json": OTHER_HASH}
            manifest.write_text(json.dumps(said | {"files": files}))


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("one bit", "model.onnx is corrupt or belongs to another encoder: generate the model"),
        ("cut short", "model.onnx is corrupt or belongs to another encoder: generate the model"),
        ("vouched for", "model.onnx can't be loaded: "),
        ("tokenizer", f"the encoder has {OTHER_HASH}: generate the model repository again"),
    ],
    ids=["one bit", "cut short", "vouched for", "tokenizer"],
)
async def test_a_damaged_model_is_refused_at_load_and_the_cpu_path_reads_until_it_is_whole(
    begin: Begin, triton: TritonServer, how: str, sentence: str
) -> None:
    sidecar = await begin()
    folder = triton.repository / SHORT
    kept = {file: file.read_bytes() for file in (folder / "1").iterdir() if file.is_file()}
    async with flowing(sidecar.url) as traffic:
        await traffic.after(8)
        try:
            corrupted(folder, how)
            # what is loaded goes on while the new files are refused
            assert sentence in await asyncio.to_thread(triton.refusal, SHORT)
            await traffic.after(8)
            assert backend(sidecar) == "triton"

            triton.control(SHORT, "unload")
            await becomes(sidecar, "onnx")
            assert sentence in await asyncio.to_thread(triton.refusal, SHORT)
            await traffic.after(8)
            assert backend(sidecar) == "onnx"
            assert SHORT in (await readiness(sidecar))["backend_why"]
        finally:
            for file, raw in kept.items():
                file.write_bytes(raw)
            triton.control(SHORT, "load")
        await becomes(sidecar, "triton", RETURN_S)
        await traffic.after(8)
    assert set(traffic.answers) == {"hello"}
    assert "policy" in traffic.reasons
    assert set(traffic.reasons) <= {"policy", "deadline"}  # a busy machine's CPU path may be late


def slow(seconds: float) -> Callable[[str], str]:
    """A model that takes so long for each batch."""

    def change(text: str) -> str:
        text = text.replace("import hashlib\n", "import hashlib\nimport time\n")
        return text.replace("        rows = [", f"        time.sleep({seconds})\n        rows = [")

    return change


async def test_a_slow_model_is_late_and_not_waited_for(begin: Begin, triton: TritonServer) -> None:
    sidecar = await begin(deadline_ms=900)
    async with flowing(sidecar.url, clients=8) as traffic:
        await traffic.after(10)
        with changed(triton, {"1/model.py": slow(2.0)}):
            await becomes(sidecar, "onnx")
            why = sidecar.app.runtime.classifier.why
            assert "share of the deadline" in why or "is slower than 900 ms" in why
            await traffic.after(30)
            assert backend(sidecar) == "onnx"  # its probes are late too
        await becomes(sidecar, "triton", RETURN_S)
        await traffic.after(10)
    assert set(traffic.answers) == {"hello"}
    assert set(traffic.reasons) <= {"policy", "deadline"}
    said = await metrics(sidecar)
    assert calls(said, "late") >= TRIPS
    assert calls(said, "full") == 0


async def test_a_full_queue_is_an_answer_and_no_lateness(
    begin: Begin, triton: TritonServer
) -> None:
    """A call that has its place in the queue is in time: what is refused is what has none."""

    def crowded(text: str) -> str:
        text = text.replace("max_queue_size: 256", "max_queue_size: 1")
        return text.replace("max_batch_size: 32", "max_batch_size: 1")

    sidecar = await begin(fallback="none", deadline_ms=9000, classifier_ms=10_000)
    async with flowing(sidecar.url, clients=10) as traffic:
        await traffic.after(10)
        with changed(triton, {"1/model.py": slow(0.4), "config.pbtxt": crowded}):
            before = len(traffic.reasons)
            await becomes(sidecar, "none")
            assert sidecar.app.runtime.classifier.why == "not triton: Triton's queue is full"
            await traffic.after(10)
            refused = traffic.reasons[before:]
        await becomes(sidecar, "triton", RETURN_S)
        back = len(traffic.reasons) + 10  # of each client, the request that was under way
        await traffic.after(20)
    assert set(traffic.answers) == {"hello"}
    assert "deadline" in refused
    assert set(traffic.reasons) == {"policy", "deadline"}
    assert set(traffic.reasons[back:]) == {"policy"}
    said = await metrics(sidecar)
    assert calls(said, "full") >= TRIPS > calls(said, "late")


def callers(port: int) -> set[str]:
    """The other ends of the connections to a local ``port`` now."""
    # gRPC speaks IPv4 by sockets of IPv6
    text = "".join(Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    lines = [line.split() for line in text.splitlines()]
    return {each[2] for each in lines if each[1].endswith(f":{port:04X}") and each[3] == "01"}


async def test_a_connection_ends_when_it_is_old_and_no_app_notices(
    begin: Begin, tmp_path: Path
) -> None:
    """Only so do pods that joined the pool, behind one address, get a part of its clients."""
    with serving(tmp_path / "aging", AGE_S="2") as aging:
        sidecar = await begin(url=aging.url)
        seen: set[str] = set()
        async with flowing(sidecar.url) as traffic, asyncio.timeout(60):
            while len(seen) < 4:
                seen |= callers(aging.grpc)
                await asyncio.sleep(0.02)
        await becomes(sidecar, "triton", RETURN_S)
        said = await metrics(sidecar)
    assert set(traffic.reasons) == {"policy"}
    assert set(traffic.answers) == {"hello"}
    assert calls(said, "ok") > len(traffic.reasons) / 2


def test_killing_the_server_in_the_middle_of_a_demo_loses_nothing(triton: TritonServer) -> None:
    before = triton.inferences()
    command = [sys.executable, "-m", "sidecar", "demo", "--json", "--requests", "150"]
    command += ["--speed", "8", "--triton", triton.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as demo:
        try:
            while triton.inferences() < before + 20:
                assert demo.poll() is None
                time.sleep(0.05)
            triton.kill()
            assert demo.poll() is None
            said, log = demo.communicate(timeout=200)
        finally:
            demo.kill()
    triton.start()
    triton.wait_ready()
    assert demo.returncode == 0, log.decode()
    told = json.loads(said)
    assert (told["requests"], told["errors"]) == (150, 0)
    assert told["backend"] == "onnx"  # as the last decisions were made
