"""The Triton backend against a scripted server: bounds, lateness, and what must not grow."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed: the extra `gpu`")

import grpc

from sidecar import classify
from sidecar.classify.batcher import BatchingClassifier
from sidecar.classify.dummy import DummyReader
from sidecar.classify.triton import TritonClassifier
from sidecar.classify.triton_pool import Pool
from sidecar.config.schema import Classifier, Triton
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.served import Served
from sidecar.encoder.tokens import Tokens
from sidecar.errors import ClassifierDown, ClassifierLate, ConfigError
from sidecar.observe.metrics import Registry
from sidecar.types import Features, Reading
from tests.support.scripted_triton import ScriptedTriton

BUNDLE = Bundle.load()
SERVED = Served.of(BUNDLE)
HELLO = Features("hello")


@pytest.fixture
async def server() -> AsyncIterator[ScriptedTriton]:
    scripted = ScriptedTriton(SERVED)
    await scripted.start()
    yield scripted
    await scripted.stop()


Make = Callable[..., TritonClassifier]


@pytest.fixture
async def make(server: ScriptedTriton) -> AsyncIterator[Make]:
    made: list[TritonClassifier] = []

    def one(deadline_s: float = 30.0, cpu: bool = False, **keys: object) -> TritonClassifier:
        settings = Triton.model_validate({"url": server.url, **keys})
        reader = DummyReader(lambda window: Reading(difficulty=0.75, version="dummy-1"))
        made.append(
            TritonClassifier(
                Pool(settings.url, SERVED, settings.in_flight),
                Tokens(BUNDLE.tokenizer),
                BUNDLE.version,
                settings,
                deadline_s=deadline_s,
                cpu=BatchingClassifier(reader, name="onnx", deadline_s=30.0) if cpu else None,
                registry=Registry(),
            )
        )
        return made[-1]

    yield one
    for classifier in made:
        await classifier.close()


async def until(true: Callable[[], bool], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


async def test_a_row_goes_to_the_smallest_bucket_that_holds_it(
    server: ScriptedTriton, make: Make
) -> None:
    classifier = make()
    await classifier.start()
    server.asked.clear()
    for words in (1, 100, 5000):
        await classifier.classify(Features("word " * words))
    names = [name for name, _ in server.asked]
    assert names == [SERVED.name(64), SERVED.name(128), SERVED.name(256)]
    assert [ids.shape for _, ids in server.asked] == [(1, 64), (1, 128), (1, 256)]
    assert not server.asked[0][1][0, 8:].any()  # padding is zeros


async def test_a_late_answer_is_dropped_and_not_cancelled(
    server: ScriptedTriton, make: Make
) -> None:
    classifier = make(cpu=True, deadline_ms=200)
    await classifier.start()
    assert classifier.name == "triton"
    server.finished, server.delay_s = 0, 0.6
    assert (await classifier.classify(HELLO)).difficulty == 0.75  # the CPU path's
    assert server.finished == 0
    await until(lambda: server.finished == 1)
    assert server.cancelled == 0


async def test_a_caller_who_leaves_cancels_nothing_on_the_server(
    server: ScriptedTriton, make: Make
) -> None:
    classifier = make()
    await classifier.start()
    server.finished, server.delay_s = 0, 0.3
    asking = asyncio.create_task(classifier.classify(HELLO))
    await until(lambda: server.under_way == 1)
    asking.cancel()
    await until(lambda: server.finished == 1)
    assert server.cancelled == 0


async def test_calls_under_way_are_bounded_late_ones_included(
    server: ScriptedTriton, make: Make
) -> None:
    classifier = make(cpu=True, deadline_ms=100, in_flight=3, trip_after=20)
    await classifier.start()
    server.most_under_way, server.delay_s = 0, 1.0
    readings = await asyncio.gather(*(classifier.classify(HELLO) for _ in range(12)))
    assert {reading.difficulty for reading in readings} == {0.75}
    assert server.most_under_way <= 3


async def test_without_a_cpu_path_the_reason_is_the_faults_own(
    server: ScriptedTriton, make: Make
) -> None:
    classifier = make(trip_after=1)
    await classifier.start()
    server.failure = (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
    with pytest.raises(ClassifierLate, match="queue is full"):
        await classifier.classify(HELLO)
    assert classifier.name == "none"
    server.failure = (grpc.StatusCode.INTERNAL, "broken")
    await until(lambda: "broken" in classifier.why)
    with pytest.raises(ClassifierDown, match="INTERNAL: broken"):
        await classifier.classify(HELLO)
    server.failure = None
    await until(lambda: classifier.name == "triton")
    assert (await classifier.classify(HELLO)).difficulty == 0.25


async def test_a_process_that_stood_still_does_not_blame_the_server(
    server: ScriptedTriton, make: Make
) -> None:
    classifier = make(cpu=True, deadline_ms=50, trip_after=1)
    await classifier.start()
    assert classifier.name == "triton"
    asking = asyncio.create_task(classifier.classify(HELLO))
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251  # a long turn of the event loop, whoever took it
    assert (await asking).difficulty in {0.25, 0.75}
    assert classifier.name == "triton"


async def test_a_probe_that_read_nothing_does_not_bring_a_failing_server_back(
    server: ScriptedTriton, make: Make
) -> None:
    classifier = make(trip_after=1, recheck_s=0.05)
    await classifier.start()
    server.failure = (grpc.StatusCode.INTERNAL, "broken")
    with pytest.raises(ClassifierDown, match="broken"):
        await classifier.classify(HELLO)
    for _ in range(40):
        await asyncio.sleep(0.01)
        assert classifier.name == "none"


async def test_an_answer_that_is_no_reading_is_refused(server: ScriptedTriton, make: Make) -> None:
    classifier = make()
    await classifier.start()
    server.broken = True
    with pytest.raises(ClassifierDown, match="no reading"):
        await classifier.classify(HELLO)


async def test_a_server_that_is_lost_while_nothing_is_asked_is_noticed(
    server: ScriptedTriton, make: Make
) -> None:
    classifier = make(cpu=True)
    await classifier.start()
    await server.stop()
    await until(lambda: classifier.name == "onnx")
    assert (await classifier.classify(HELLO)).difficulty == 0.75
    await server.start()
    await until(lambda: classifier.name == "triton")
    assert (await classifier.classify(HELLO)).difficulty == 0.25


async def test_a_good_server_is_rechecked_without_reading_anything(
    server: ScriptedTriton, make: Make
) -> None:
    classifier = make(recheck_s=0.05)
    await classifier.start()
    server.asked.clear()
    configured = server.configured
    await until(lambda: server.configured >= configured + 3 * len(SERVED.buckets))
    assert server.asked == []
    server.served = replace(SERVED, parameters={**SERVED.parameters, "encoder_version": "other"})
    await until(lambda: classifier.name == "none")
    assert "has encoder_version other, this sidecar's is" in classifier.why


async def test_a_proxy_of_the_environment_is_not_used(
    server: ScriptedTriton, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    classifier = make()
    await classifier.start()
    assert classifier.name == "triton"


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def channels() -> list[object]:
    """Every gRPC channel alive in this process.

    By type: `isinstance` would ask every object for its class, and some libraries' warn of that.
    """
    gc.collect()
    return [o for o in gc.get_objects() if issubclass(type(o), grpc.aio.Channel)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_fifty_restarts_grow_neither_channels_nor_memory(
    server: ScriptedTriton, make: Make
) -> None:
    others = channels()  # of tests before this one: kept, so that none of them is freed and counted
    classifier = make(cpu=True)
    await classifier.start()

    async def restarts(count: int) -> tuple[int, int, float]:
        for _ in range(count):
            await server.stop()
            await until(lambda: classifier.name == "onnx")
            await classifier.classify(HELLO)
            await server.start()
            await until(lambda: classifier.name == "triton")
            await classifier.classify(HELLO)
        gc.collect()
        files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        return files, len(asyncio.all_tasks()), resident_mb()

    files, tasks, memory = await restarts(10)  # what is made once is made by now
    more_files, more_tasks, more_memory = await restarts(50)
    assert more_files <= files + 2
    assert more_tasks <= tasks + 1
    assert more_memory <= memory + 8
    ours = [channel for channel in channels() if not any(channel is other for other in others)]
    assert len(ours) == 1


# -- the choice ---------------------------------------------------------------------


def without_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)


async def test_triton_without_its_client_is_an_error_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_the_client(monkeypatch)
    with pytest.raises(ConfigError, match=r"pip install 'pointsman\[gpu\]'"):
        await classify.build(Classifier(backend="triton"), BUNDLE)


async def test_auto_without_the_client_is_onnx_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_the_client(monkeypatch)
    chosen = await classify.build(Classifier(triton=Triton()), BUNDLE)
    assert chosen.why.startswith("onnx (auto: ")
    assert "pointsman[gpu]" in chosen.why
    await chosen.classifier.close()


async def test_auto_is_triton_where_it_answers_and_onnx_until_it_does(
    server: ScriptedTriton,
) -> None:
    await server.stop()
    settings = Classifier(triton=Triton(url=server.url), deadline_ms=5000)
    began = time.monotonic()
    chosen = await classify.build(settings, BUNDLE)
    assert time.monotonic() - began < 30
    assert chosen.why.startswith("onnx (auto: not triton: ")
    assert (await chosen.classifier.classify(HELLO)).version == BUNDLE.version
    await server.start()
    await until(lambda: chosen.classifier.name == "triton")
    assert BUNDLE.version in chosen.classifier.why
    await chosen.classifier.close()
    again = await classify.build(settings, BUNDLE)
    assert again.why.startswith("triton (auto: Triton at ")
    await again.classifier.close()
