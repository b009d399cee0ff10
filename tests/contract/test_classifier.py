"""What every classifier backend promises: one body of tests over each of them.

A backend is one entry in ``BACKENDS``: a coroutine function of a deadline and the URL of
a Triton server that makes a classifier. ``triton`` is the real server, without a CPU path
to hide behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache

import pytest

from sidecar.classify.base import Classifier
from sidecar.classify.batcher import BatchingClassifier
from sidecar.classify.dummy import DummyReader
from sidecar.classify.triton import TritonClassifier
from sidecar.classify.triton_pool import Pool
from sidecar.config.schema import Triton
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import OnnxEncoder
from sidecar.encoder.served import Served
from sidecar.encoder.tokens import Tokens
from sidecar.errors import ClassifierDown, ClassifierLate
from sidecar.features import features_of
from sidecar.observe.metrics import Registry
from sidecar.types import Features, Prompt, Reading

GENEROUS = 60.0  # seconds
TEXTS = [
    "hello",
    "What is the capital of France?",
    "Prove that there are infinitely many primes of the form 4k + 3.",
    "def f(x):\n    return x\n\nWhat is wrong with this function? " * 20,
    "Summarise: " + "the cat sat on the mat. " * 200,
    "Přelož do češtiny: good morning",
    "1 2 3 4 5 6 7 8 9 " * 30,
]
ODD = [
    "",
    " ",
    "\x00",
    "\ud800",
    "\ue000\ue001",
    "🏳️‍🌈" * 300,
    "a" * 1_000_000,
    "\u200b",
    "日本語" * 500,
    "\n" * 5000,
    "[UNK][PAD]<s></s>",
    "'\"\\{}[]",
]


@cache
def bundle() -> Bundle:
    return Bundle.load()


async def dummy(deadline_s: float, _: str) -> BatchingClassifier:
    def answer(window: str) -> Reading:
        return Reading(difficulty=(sum(map(ord, window)) % 1000) / 1000, version="dummy-1")

    return BatchingClassifier(DummyReader(answer), name="dummy", deadline_s=deadline_s)


async def onnx(deadline_s: float, _: str) -> BatchingClassifier:
    return BatchingClassifier(OnnxEncoder(bundle(), threads=1), name="onnx", deadline_s=deadline_s)


async def triton(deadline_s: float, url: str) -> TritonClassifier:
    settings = Triton(url=url, fallback="none", in_flight=1000)
    encoder = bundle()
    classifier = TritonClassifier(
        Pool(url, Served.of(encoder), settings.in_flight),
        Tokens(encoder.tokenizer),
        encoder.version,
        settings,
        deadline_s=deadline_s,
        cpu=None,
        registry=Registry(),
    )
    await classifier.start()
    if deadline_s == GENEROUS:
        assert classifier.name == "triton", classifier.why
    return classifier


BACKENDS = {"dummy": dummy, "onnx": onnx, "triton": triton}
Make = Callable[..., Awaitable[Classifier]]


@pytest.fixture(params=BACKENDS)
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    made: list[Classifier] = []
    remote = request.param == "triton"
    url = request.getfixturevalue("triton_server").url if remote else ""

    async def one(deadline_s: float = GENEROUS) -> Classifier:
        made.append(await BACKENDS[request.param](deadline_s, url))
        return made[-1]

    yield one
    for classifier in made:
        await classifier.close()


def of(text: str) -> Features:
    return features_of(Prompt(user=text))


def same(one: Reading, two: Reading) -> bool:
    """Equal but for what int8 arithmetic over another padding may change."""
    near = pytest.approx(one.difficulty, abs=0.02)
    return (
        two.difficulty == near
        and one.task == two.task
        and one.domain == two.domain
        and one.tier == two.tier
        and (one.demand is None) == (two.demand is None)
    )


async def test_a_reading_is_in_its_bounds_and_says_who_made_it(make: Make) -> None:
    classifier = await make()
    for text in TEXTS:
        reading = await classifier.classify(of(text))
        assert 0.0 <= reading.difficulty <= 1.0
        assert 0.0 <= reading.ood <= 1.0
        assert reading.version == classifier.version != ""
        for probs in (reading.task_probs, reading.domain_probs, reading.tier_probs):
            assert not probs or sum(probs) == pytest.approx(1.0, abs=0.01)


async def test_each_caller_gets_the_reading_of_its_own_text(make: Make) -> None:
    classifier = await make()
    alone = [await classifier.classify(of(text)) for text in TEXTS]
    together = await asyncio.gather(*(classifier.classify(of(text)) for text in TEXTS))
    for one, two in zip(alone, together, strict=True):
        assert same(one, two)
    assert len({round(reading.difficulty, 3) for reading in alone}) > 1


async def test_the_same_text_has_the_same_reading(make: Make) -> None:
    classifier = await make()
    assert await classifier.classify(of(TEXTS[2])) == await classifier.classify(of(TEXTS[2]))


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
async def test_any_text_is_answered(make: Make, text: str) -> None:
    reading = await (await make()).classify(of(text))
    assert 0.0 <= reading.difficulty <= 1.0


async def test_an_unbounded_window_is_answered(make: Make) -> None:
    assert await (await make()).classify(Features("word " * 100_000))


async def test_a_passed_deadline_is_classifier_late(make: Make) -> None:
    with pytest.raises(ClassifierLate) as caught:
        await (await make(deadline_s=1e-6)).classify(of(TEXTS[0]))
    assert caught.value.reason == "deadline"


async def test_after_a_late_answer_the_next_is_its_own(make: Make) -> None:
    classifier = await make()
    fresh = await classifier.classify(of(TEXTS[2]))
    late = asyncio.ensure_future(classifier.classify(of(TEXTS[1])))
    await asyncio.sleep(0)
    late.cancel()
    assert same(await classifier.classify(of(TEXTS[2])), fresh)


async def test_a_closed_classifier_is_down(make: Make) -> None:
    classifier = await make()
    await classifier.classify(of(TEXTS[0]))
    await classifier.close()
    with pytest.raises(ClassifierDown) as caught:
        await classifier.classify(of(TEXTS[0]))
    assert caught.value.reason == "classifier-down"
    await classifier.close()  # and closing again is no fault


async def test_many_at_once_are_all_answered(make: Make) -> None:
    classifier = await make()
    texts = [f"{text} {i}" for i in range(30) for text in TEXTS]
    readings = await asyncio.gather(*(classifier.classify(of(text)) for text in texts))
    assert len(readings) == len(texts)
    one = await classifier.classify(of(texts[17]))
    assert same(one, readings[17])
