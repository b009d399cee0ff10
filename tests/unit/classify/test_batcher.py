"""Micro-batching: together under load, in time or not at all, and never a dead caller."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from sidecar.classify.batcher import BatchingClassifier
from sidecar.classify.pace import Pace
from sidecar.errors import ClassifierDown, ClassifierLate
from sidecar.types import Features, Reading

GENEROUS = 30.0  # seconds: no test waits this long unless it fails


class GatedReader:
    """Reads only when the test opens the gate; keeps what it was given."""

    version = "gated"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[str]] = []
        self.fault: Exception | None = None

    def read(self, windows: Sequence[str]) -> list[Reading]:
        self.batches.append(list(windows))
        self.entered.set()
        assert self.gate.wait(GENEROUS)
        if self.fault is not None:
            raise self.fault
        return [Reading(difficulty=len(w) / 1e6, version=w[:8]) for w in windows]


Make = Callable[..., BatchingClassifier]


@pytest.fixture
def reader() -> GatedReader:
    return GatedReader()


@pytest.fixture
async def make(reader: GatedReader) -> AsyncIterator[Make]:
    made: list[BatchingClassifier] = []

    def one(deadline_s: float = GENEROUS, **kw: int) -> BatchingClassifier:
        made.append(BatchingClassifier(reader, name="gated", deadline_s=deadline_s, **kw))
        return made[-1]

    yield one
    reader.gate.set()
    for classifier in made:
        await classifier.close()


def ask(classifier: BatchingClassifier, text: str) -> asyncio.Task[Reading]:
    return asyncio.ensure_future(classifier.classify(Features(text)))


async def busy(classifier: BatchingClassifier, reader: GatedReader) -> asyncio.Task[Reading]:
    """Keep the worker in its reader until the gate opens."""
    first = ask(classifier, "first")
    await asyncio.to_thread(reader.entered.wait, GENEROUS)
    return first


async def queued(classifier: BatchingClassifier, count: int) -> None:
    async with asyncio.timeout(GENEROUS):
        while classifier.queued < count:
            await asyncio.sleep(0.001)


async def test_what_waits_is_read_together_and_each_gets_its_own(
    make: Make, reader: GatedReader
) -> None:
    classifier = make()
    first = await busy(classifier, reader)
    rest = [ask(classifier, f"text {i}") for i in range(20)]
    await queued(classifier, 20)
    reader.gate.set()
    readings = await asyncio.gather(first, *rest)
    assert [r.version for r in readings] == ["first", *(f"text {i}" for i in range(20))]
    assert [len(batch) for batch in reader.batches] == [1, 20]


async def test_an_idle_encoder_starts_at_once(make: Make, reader: GatedReader) -> None:
    reader.gate.set()
    classifier = make()
    for i in range(3):
        assert (await classifier.classify(Features(str(i)))).version == str(i)
    assert [len(batch) for batch in reader.batches] == [1, 1, 1]


async def test_a_batch_stays_within_its_token_budget(make: Make, reader: GatedReader) -> None:
    classifier = make(max_batch_tokens=500)
    first = await busy(classifier, reader)
    # 300 characters are at most 101 tokens: four fit into 500, and five do not
    rest = [ask(classifier, "x" * 300) for _ in range(10)]
    await queued(classifier, 10)
    reader.gate.set()
    await asyncio.gather(first, *rest)
    assert [len(batch) for batch in reader.batches] == [1, 4, 4, 2]


async def test_a_batch_costs_what_padding_to_its_longest_costs(
    make: Make, reader: GatedReader
) -> None:
    classifier = make(max_batch_tokens=600)
    first = await busy(classifier, reader)
    rest = [ask(classifier, "x") for _ in range(4)] + [ask(classifier, "x" * 3000)]
    await queued(classifier, 5)
    reader.gate.set()
    await asyncio.gather(first, *rest)
    assert [len(batch) for batch in reader.batches] == [1, 4, 1]


async def test_a_text_over_the_whole_budget_is_still_read(make: Make, reader: GatedReader) -> None:
    reader.gate.set()
    assert await make(max_batch_tokens=256).classify(Features("x" * 100_000))


async def test_a_late_answer_is_not_waited_for(make: Make, reader: GatedReader) -> None:
    classifier = make(deadline_s=0.02)
    with pytest.raises(ClassifierLate, match="deadline"):
        await classifier.classify(Features("slow"))
    assert not reader.gate.is_set()  # it is still being read


async def test_what_is_late_in_the_queue_is_dropped_unread(make: Make, reader: GatedReader) -> None:
    classifier = make(deadline_s=0.05)
    first = await busy(classifier, reader)
    late = [ask(classifier, f"late {i}") for i in range(5)]
    for result in await asyncio.gather(first, *late, return_exceptions=True):
        assert isinstance(result, ClassifierLate)
    classifier._deadline = GENEROUS
    after = ask(classifier, "next")
    await queued(classifier, 6)
    reader.gate.set()
    assert (await after).version == "next"
    assert reader.batches == [["first"], ["next"]]


async def test_what_was_given_up_in_the_queue_is_dropped_unread(
    make: Make, reader: GatedReader
) -> None:
    classifier = make()
    first = await busy(classifier, reader)
    given_up, kept = ask(classifier, "given up"), ask(classifier, "kept")
    await queued(classifier, 2)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    reader.gate.set()
    assert (await kept).version == "kept"
    assert (await first).version == "first"
    assert reader.batches == [["first"], ["kept"]]


async def test_a_caller_who_leaves_while_being_read_harms_nobody(
    make: Make, reader: GatedReader
) -> None:
    classifier = make()
    first = await busy(classifier, reader)
    first.cancel()
    other = ask(classifier, "other")
    reader.gate.set()
    assert (await other).version == "other"


async def test_a_full_queue_refuses_at_once(make: Make, reader: GatedReader) -> None:
    classifier = make(max_queue=3)
    first = await busy(classifier, reader)
    waiting = [ask(classifier, f"text {i}") for i in range(3)]
    await queued(classifier, 3)
    with pytest.raises(ClassifierLate, match="queue is full"):
        await classifier.classify(Features("one more"))
    reader.gate.set()
    await asyncio.gather(first, *waiting)
    assert await classifier.classify(Features("again"))


async def test_a_reader_that_raises_fails_its_batch_and_not_the_worker(
    make: Make, reader: GatedReader
) -> None:
    classifier = make()
    reader.fault = ValueError("the prompt was: secret")
    reader.gate.set()
    with pytest.raises(ClassifierDown) as caught:
        await classifier.classify(Features("one"))
    assert "ValueError" in str(caught.value)
    assert "secret" not in str(caught.value)  # an encoder's message may quote what it read
    reader.fault = None
    assert (await classifier.classify(Features("two"))).version == "two"


async def test_a_reader_that_gives_too_few_readings_is_down_and_not_silent(
    make: Make, reader: GatedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = make()
    monkeypatch.setattr(reader, "read", lambda windows: [])
    with pytest.raises(ClassifierDown):
        await classifier.classify(Features("one"))


async def test_closing_answers_those_who_wait(make: Make, reader: GatedReader) -> None:
    classifier = make()
    first = await busy(classifier, reader)
    waiting = [ask(classifier, f"text {i}") for i in range(3)]
    await queued(classifier, 3)
    closing = asyncio.ensure_future(classifier.close())
    await asyncio.sleep(0)
    reader.gate.set()
    await closing
    assert (await first).version == "first"  # it was being read already
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, ClassifierDown)
    with pytest.raises(ClassifierDown):
        await classifier.classify(Features("later"))


async def test_closing_twice_is_closing_once(make: Make, reader: GatedReader) -> None:
    classifier = make()
    await classifier.close()
    await classifier.close()


async def test_a_worker_that_died_is_down_at_once(make: Make, reader: GatedReader) -> None:
    classifier = make()

    class Death(BaseException):
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda args: None)
        reader.fault = Death()  # type: ignore[assignment]
        reader.gate.set()
        first = ask(classifier, "fatal")
        await asyncio.to_thread(classifier._worker.join, GENEROUS)
        with pytest.raises(ClassifierDown):
            await asyncio.wait_for(first, GENEROUS)
    with pytest.raises(ClassifierDown):
        await classifier.classify(Features("next"))


async def test_no_thread_is_left(make: Make) -> None:
    classifier = make()
    await classifier.close()
    assert not classifier._worker.is_alive()


# -- the pace ----------------------------------------------------------------------


class PacedReader:
    """Takes a stated time a batch: so long for every window in it."""

    version = "paced"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.batches: list[int] = []

    def read(self, windows: Sequence[str]) -> list[Reading]:
        self.batches.append(len(windows))
        time.sleep(self.seconds * len(windows))
        return [Reading(difficulty=0.5, version="paced") for _ in windows]


WINDOW = "x" * 300  # a hundred tokens, by the batcher's bound


async def outcomes(classifier: BatchingClassifier, count: int) -> list[Reading | BaseException]:
    asked = [classifier.classify(Features(WINDOW)) for _ in range(count)]
    return await asyncio.gather(*asked, return_exceptions=True)


async def test_beyond_its_capacity_the_encoder_still_reads_what_it_can() -> None:
    reader = PacedReader(0.02)
    classifier = BatchingClassifier(reader, name="paced", deadline_s=0.2)
    try:
        await classifier.classify(Features(WINDOW))  # the pace is known from here on
        found = await outcomes(classifier, 100)  # two seconds' worth
    finally:
        await classifier.close()
    read = [one for one in found if isinstance(one, Reading)]
    # ten fit into the deadline; read all together they would all have been late
    assert 3 <= len(read) <= 12
    assert all(isinstance(one, Reading | ClassifierLate) for one in found)
    assert sum(reader.batches) < 25  # and little was read for nobody


async def test_what_could_not_be_read_in_time_is_refused_when_it_comes() -> None:
    classifier = BatchingClassifier(PacedReader(0.3), name="paced", deadline_s=1.0)
    try:
        await classifier.classify(Features(WINDOW))
        first = [ask(classifier, WINDOW) for _ in range(3)]
        await asyncio.sleep(0)
        began = time.monotonic()
        with pytest.raises(ClassifierLate, match="behind"):
            await classifier.classify(Features(WINDOW))
        assert time.monotonic() - began < 0.5  # not at its deadline
        assert classifier.shed == 1
        await asyncio.gather(*first, return_exceptions=True)
    finally:
        await classifier.close()


async def test_an_idle_encoder_tries_whatever_comes_so_that_a_slow_spell_is_forgotten() -> None:
    reader = PacedReader(0.3)
    classifier = BatchingClassifier(reader, name="paced", deadline_s=0.1)
    try:
        for _ in range(2):  # too slow for the deadline, by its own pace
            with pytest.raises(ClassifierLate):
                await classifier.classify(Features(WINDOW))
            await asyncio.sleep(0.4)
        reader.seconds = 0.0
        assert await classifier.classify(Features(WINDOW))
    finally:
        await classifier.close()
    assert reader.batches == [1, 1, 1]


def test_a_stalled_machine_does_not_pass_for_a_slow_encoder() -> None:
    pace = Pace()
    assert pace.seconds(100) == 0  # nothing is known yet
    for _ in range(20):
        pace.observe(100, 0.002)
    usual = pace.seconds(100)
    assert usual == pytest.approx(0.002)
    pace.observe(100, 5.0)
    assert pace.seconds(100) < 1.5 * usual
    for _ in range(60):
        pace.observe(100, 0.004)  # a neighbour came to stay
    assert pace.seconds(100) == pytest.approx(0.004, rel=0.02)
