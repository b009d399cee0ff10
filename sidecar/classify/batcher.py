"""Micro-batching on one worker thread, with a deadline for each request.

Requests that arrive while the encoder is busy wait in a queue and are read
together in its next run. Nothing waits for a batch to fill: an idle encoder starts
at once. Each entry carries its own deadline, and computing answers that nobody
awaits is how a queue collapses, so the pace of the encoder is known
(:mod:`sidecar.classify.pace`) and used three times: an entry that could not be read
in time is refused when it comes, a batch grows only while its most urgent entry can
still be served, and what has become hopeless in the queue is let go unread. Beyond
its capacity the encoder therefore reads as much as it can, and the rest goes on
without a reading at once and not when its deadline has passed.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from sidecar.classify.base import Reader
from sidecar.classify.pace import Pace
from sidecar.errors import ClassifierDown, ClassifierError, ClassifierLate
from sidecar.types import Features, Reading

_CHARS_PER_TOKEN: Final = 3  # from above, for English and code: the budget is for time
_MAX_TOKENS: Final = 256  # no window is longer to the encoder
_CAUTION: Final = 1.25  # an estimate is a mean: what just fits by it is late half the time
_GROWTH: Final = 2.0  # a batch is all late or all in time, so it may take half of what is left


@dataclass(slots=True)
class _Entry:
    window: str
    tokens: int
    expires: float  # time.monotonic()
    future: asyncio.Future[Reading] = field(repr=False)


class BatchingClassifier:
    """Awaits a blocking :class:`~sidecar.classify.base.Reader` in batches.

    ``deadline_s`` counts from the call of :meth:`classify`. A batch holds at
    most ``max_batch_tokens`` (bound from above by character counts), and the
    queue at most ``max_queue`` entries. What comes and could not be read in time is
    refused at once; :attr:`shed` counts it.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        name: str,
        why: str = "",
        deadline_s: float,
        max_batch_tokens: int = 4096,
        max_queue: int = 512,
    ) -> None:
        self.name = name
        self.why = why
        self.version = reader.version
        self._reader = reader
        self._deadline = deadline_s
        self._budget = max_batch_tokens
        self._max_queue = max_queue
        self._queue: deque[_Entry] = deque()
        self._waiting = 0  # tokens in the queue
        self._pace = Pace()
        self._busy_until = 0.0  # time.monotonic() at which the run is expected to end; 0: idle
        self.shed = 0
        self._wake = threading.Condition()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._worker = threading.Thread(target=self._work, name="classifier", daemon=True)
        self._worker.start()

    async def classify(self, features: Features, within_s: float | None = None) -> Reading:
        """A reading within the deadline, or within ``within_s`` where less is left."""
        deadline = self._deadline if within_s is None else within_s
        if self._closed or not self._worker.is_alive():
            raise ClassifierDown("the classifier is stopped")
        tokens = min(_MAX_TOKENS, len(features.window) // _CHARS_PER_TOKEN + 1)
        now = time.monotonic()
        with self._wake:
            if len(self._queue) >= self._max_queue:
                raise ClassifierLate("the classifier's queue is full")
            if not self._in_time(tokens, now, now + deadline):
                self.shed += 1
                raise ClassifierLate("the encoder is behind: a reading would come too late")
            future: asyncio.Future[Reading] = self._loop.create_future()
            self._queue.append(_Entry(features.window, tokens, now + deadline, future))
            self._waiting += tokens
            self._wake.notify()
        timer = self._loop.call_later(deadline, _expire, future)
        try:
            return await future
        finally:
            timer.cancel()

    async def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        await asyncio.to_thread(self._worker.join, 5.0)

    def _in_time(self, tokens: int, now: float, expires: float) -> bool:
        """Whether a new entry could be read by ``expires``, after all that is before it.

        An idle encoder tries whatever comes: that is how the pace is learned again after it
        was taken for slower than it is.
        """
        if not self._busy_until and not self._queue:
            return True
        start = max(now, self._busy_until)
        return start + _CAUTION * self._pace.seconds(self._waiting + tokens) <= expires

    @property
    def queued(self) -> int:
        """Entries that wait for the encoder now."""
        return len(self._queue)

    # -- the worker thread ----------------------------------------------------------

    def _work(self) -> None:
        try:
            while (batch := self._next()) is not None:
                if batch:
                    self._read(batch)
        finally:  # closed, or dying of what no reader should raise: nobody waits in vain
            with self._wake:
                self._closed = True
                left = list(self._queue)
                self._queue.clear()
                self._waiting = 0
            self._deliver(left, ClassifierDown("the classifier is stopped"))

    def _next(self) -> list[_Entry] | None:
        """Wait for entries and take a batch; None once the classifier is closed."""
        with self._wake:
            self._busy_until = 0.0
            while not self._queue and not self._closed:
                self._wake.wait()
            return None if self._closed else self._take(time.monotonic())

    def _take(self, now: float) -> list[_Entry]:
        """The next batch, oldest first, without what is late, given up or hopeless."""
        batch: list[_Entry] = []
        hopeless: list[_Entry] = []
        size, longest, soonest = 0, 0, math.inf
        while self._queue:
            entry = self._queue[0]
            # a batch is padded to its longest entry: that is what it costs
            wide = max(longest, entry.tokens)
            padded = wide * (len(batch) + 1)
            if entry.expires <= now or entry.future.done():
                pass
            elif not batch and len(self._queue) > 1 and self._late(padded, now, entry.expires):
                hopeless.append(entry)
            elif batch and (padded > self._budget or not self._room(padded, now, soonest)):
                break
            else:
                size, longest, soonest = padded, wide, min(soonest, entry.expires)
                batch.append(entry)
            self._queue.popleft()
            self._waiting -= entry.tokens
        self._busy_until = now + self._pace.seconds(size) if batch else 0.0
        if hopeless:
            self._deliver(hopeless, ClassifierLate("the encoder is behind"))
        return batch

    def _late(self, tokens: int, now: float, expires: float) -> bool:
        return now + self._pace.seconds(tokens) > expires

    def _room(self, tokens: int, now: float, expires: float) -> bool:
        """Whether a batch may grow to ``tokens`` when its most urgent entry has so long."""
        return now + _GROWTH * self._pace.seconds(tokens) <= expires

    def _read(self, batch: list[_Entry]) -> None:
        tokens = len(batch) * max(entry.tokens for entry in batch)
        began = time.monotonic()
        try:
            readings = self._reader.read([entry.window for entry in batch])
            if len(readings) != len(batch):
                raise ValueError("not one reading a window")
        except BaseException as exc:  # whatever an encoder raises, traffic flows on
            self._deliver(batch, ClassifierDown(f"the encoder failed: {type(exc).__name__}"))
            if not isinstance(exc, Exception):
                raise
            return
        self._pace.observe(tokens, time.monotonic() - began)
        self._deliver(batch, readings)

    def _deliver(self, batch: list[_Entry], result: list[Reading] | ClassifierError) -> None:
        try:
            self._loop.call_soon_threadsafe(_settle, batch, result)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return


def _expire(future: asyncio.Future[Reading]) -> None:
    if not future.done():
        future.set_exception(ClassifierLate("the decision deadline passed"))


def _settle(batch: list[_Entry], result: list[Reading] | ClassifierError) -> None:
    for i, entry in enumerate(batch):
        if entry.future.done():
            continue  # its deadline passed or its caller is gone
        if isinstance(result, ClassifierError):
            entry.future.set_exception(type(result)(str(result)))
        else:
            entry.future.set_result(result[i])
