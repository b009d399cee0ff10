"""The real Triton server has another model, a damaged, slow or crowded one; apps do not notice.

Each is met while clients keep asking, and said in a sentence. Once the model is good again, it is
used again within five seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_repo.generate import PLAN, config
from sidecar.config.schema import Triton as Settings
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.served import Served
from tests.support.pool import RETURN_S, Begin, backend, becomes, calls, metrics, readiness
from tests.support.traffic import flowing
from tests.support.triton import TritonServer

pytestmark = pytest.mark.timeout(300)
SHORT = Served.of(Bundle.load()).name(64)
OTHER_HASH = "0" * 64
INT8 = "model.int8.onnx"
TRIPS = Settings().trip_after  # failures after which the server is not asked


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
    served = Served.of(Bundle.load())

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
        if key == "version":
            return text.replace(served.version, "0123456789ab")
        if key == "tokenizer":
            return text.replace(served.parameters["tokenizer_sha256"], OTHER_HASH)
        if key == "bucket":
            return text.replace("dims: [ 64 ]", "dims: [ 32 ]")
        order = json.dumps(json.dumps(served.labels["tier"]))
        return text.replace(order, json.dumps(json.dumps(served.labels["tier"][::-1])))

    both = {"1/manifest.json": manifest, "config.pbtxt": config}
    return {"config.pbtxt": config} if key == "bucket" else both


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("version", "encoder_version"),
        ("labels", "labels_tier"),
        ("tokenizer", f"has tokenizer_sha256 {OTHER_HASH}, this sidecar's is "),
        ("bucket", "not int32 input_ids of 64 ids"),
    ],
    ids=["version", "labels", "tokenizer", "bucket"],
)
async def test_another_encoder_on_the_server_is_not_asked(
    begin: Begin, triton: TritonServer, key: str, said: str
) -> None:
    sidecar = await begin()
    async with flowing(sidecar.url) as traffic:
        with changed(triton, another(key)):
            await becomes(sidecar, "onnx")
            async with asyncio.timeout(RETURN_S):  # a probe says what a refused row did not
                while said not in (why := sidecar.app.runtime.classifier.why):
                    await asyncio.sleep(0.02)
            assert "serves another encoder" in why
            await traffic.after(8)
            assert backend(sidecar) == "onnx"
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
        case "a plan":  # a GPU's, where there is none
            served = Served.of(Bundle.load())
            (folder / "config.pbtxt").write_text(config(served, 64, "gpu"))
            (folder / "1" / PLAN).write_bytes(b"a plan of another machine")


def files_of(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("one bit", "model.onnx is corrupt or belongs to another encoder: generate the model"),
        ("cut short", "model.onnx is corrupt or belongs to another encoder: generate the model"),
        ("vouched for", "model.onnx can't be loaded: "),
        ("tokenizer", f"the encoder has {OTHER_HASH}: generate the model repository again"),
        ("a plan", "unable to find backend library for backend 'tensorrt'"),
    ],
    ids=["one bit", "cut short", "vouched for", "tokenizer", "a plan"],
)
async def test_a_damaged_model_is_refused_at_load_and_the_cpu_path_reads_until_it_is_whole(
    begin: Begin, triton: TritonServer, how: str, sentence: str
) -> None:
    sidecar = await begin()
    folder = triton.repository / SHORT
    kept = files_of(folder)
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
            for file in files_of(folder).keys() - kept:
                file.unlink()
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
