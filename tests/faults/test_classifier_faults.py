"""A classifier that dies, raises or dawdles changes reasons and never answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson
import pytest

from sidecar.classify.dummy import DummyReader
from sidecar.encoder.abilities import Catalogue
from sidecar.types import Features, Reading
from tests.conftest import Running, Start, by_word
from tests.support.raw_upstream import ANSWER, DONE, RawUpstream, answer, event, stream
from tests.support.traffic import flowing
from tests.support.wire import Reply, chat, exchange, post


@pytest.fixture
def config(config: dict[str, object]) -> dict[str, object]:
    """The usual one, in which every prompt is read anew."""
    return {**config, "decision_cache": {"entries": 0}}


async def test_killing_the_classifier_in_mid_run_changes_reasons_and_not_answers(
    start: Start, config: dict[str, object]
) -> None:
    config["classifier"] = {"backend": "onnx", "deadline_ms": 5000}  # the real encoder
    sidecar = await start(config, classifier=None)
    async with flowing(sidecar.url) as traffic:
        await traffic.after(20)
        assert set(traffic.reasons) == {"policy"}
        await sidecar.app.runtime.classifier.close()
        killed = len(traffic.reasons)
        await traffic.after(20)

    settled = traffic.reasons[killed + 4 :]  # those in flight may be of either kind
    assert set(settled) == {"classifier-down"}
    assert set(traffic.answers) == {"hello"}


async def test_a_worker_that_dies_in_mid_run_changes_reasons_and_not_answers(
    start: Start, config: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Death(BaseException):
        pass

    config["classifier"] = {"backend": "onnx", "deadline_ms": 5000}
    sidecar = await start(config, classifier=None)
    assert (await ask(sidecar)).header("x-router-reason") == ["policy"]

    def die(windows: Sequence[str]) -> list[Reading]:
        raise Death

    monkeypatch.setattr("threading.excepthook", lambda args: None)
    monkeypatch.setattr(sidecar.app.runtime.classifier._reader, "read", die)  # type: ignore[attr-defined]
    for _ in range(3):
        reply = await ask(sidecar)
        assert (reply.status, reply.json) == (200, ANSWER)
        assert reply.header("x-router-reason") == ["classifier-down"]


async def ask(sidecar: Running, text: str = "hello", **fields: object) -> Reply:
    return await exchange(sidecar.app.listen, post(chat(text, **fields)))


async def test_a_reader_that_raises_is_down_for_its_request_only(
    start: Start, config: dict[str, object], second: RawUpstream
) -> None:
    def answer(window: str) -> Reading:
        if "POISON" in window:
            raise ValueError(window)
        return by_word(window)

    sidecar = await start(config, classifier=DummyReader(answer))
    for text, reason, model in (
        ("hello", "policy", "small"),
        ("POISON", "classifier-down", "large"),
        ("hello", "policy", "small"),
    ):
        reply = await ask(sidecar, text)
        assert reply.status == 200
        assert reply.header("x-router-reason") == [reason]
        assert reply.header("x-router-model") == [model]


async def test_a_slow_reader_is_not_waited_for_beyond_the_deadline(
    start: Start, config: dict[str, object]
) -> None:
    sidecar = await start(config, classifier=DummyReader(by_word, delay_s=0.5), deadline_s=0.02)
    replies = await asyncio.gather(*(ask(sidecar, stream=bool(i % 2)) for i in range(8)))
    for reply in replies:
        assert reply.status == 200
        assert reply.header("x-router-reason") == ["deadline"]
        assert reply.header("x-router-model") == ["large"]


async def test_a_classifier_that_breaks_every_promise_is_down(
    start: Start, config: dict[str, object]
) -> None:
    class Rude:
        name = "rude"
        version = "0"

        async def classify(self, features: Features) -> Reading:
            raise KeyError("anything at all")

        async def close(self) -> None:
            return None

    sidecar = await start(config, classifier=Rude())
    reply = await ask(sidecar)
    assert (reply.status, reply.header("x-router-reason")) == (200, ["classifier-down"])


async def test_abilities_that_break_send_the_request_to_the_default(
    start: Start, config: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Catalogue, reading: Reading, names: Sequence[str]) -> list[float]:
        raise ZeroDivisionError

    sidecar = await start(config)
    monkeypatch.setattr(Catalogue, "probabilities", broken)
    reply = await ask(sidecar)
    assert (reply.status, reply.header("x-router-reason")) == (200, ["classifier-down"])
    assert reply.header("x-router-model") == ["large"]


async def test_a_reading_of_nonsense_still_chooses_a_configured_model(
    start: Start, config: dict[str, object]
) -> None:
    nan = float("nan")
    sidecar = await start(config, classifier=DummyReader(lambda window: Reading(nan, ood=nan)))
    reply = await ask(sidecar)
    assert reply.status == 200
    assert reply.header("x-router-model")[0] in {"small", "large"}


async def test_without_a_classifier_a_stream_and_its_fallback_work_as_ever(
    start: Start, config: dict[str, object], upstream: RawUpstream, second: RawUpstream
) -> None:
    sidecar = await start(config)
    await sidecar.app.runtime.classifier.close()
    second.script = answer(b"{}", "503 Service Unavailable")
    upstream.script = stream(event({"content": "x"}), DONE)
    reply = await ask(sidecar, stream=True)
    assert reply.body == event({"content": "x"}) + DONE
    assert reply.header("x-router-reason") == ["fallback:1"]
    assert reply.header("x-router-model") == ["small"]


async def test_explicit_and_capability_decisions_need_no_classifier(
    start: Start, config: dict[str, object]
) -> None:
    sidecar = await start(config)
    await sidecar.app.runtime.classifier.close()
    assert (await ask(sidecar, model="small")).header("x-router-reason") == ["explicit"]
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    body = orjson.dumps({"model": "auto", "messages": [{"role": "user", "content": [picture]}]})
    reply = await exchange(sidecar.app.listen, post(body))
    assert reply.header("x-router-reason") == ["capability"]
