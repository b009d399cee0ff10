"""Micro-batching on one worker thread, with a deadline for each request.

Requests that arrive while the encoder is busy wait in a queue and are read
together in its next run, so that load raises the batch and not the wait. Nothing
waits for a batch to fill: an idle encoder starts at once. Each entry carries its
own deadline; the event loop gives up on it in time, and the worker drops it
unread if it is late already, because computing answers that nobody awaits is
how a queue collapses.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from sidecar.classify.base import Reader
from sidecar.errors import ClassifierDown, ClassifierError, ClassifierLate
from sidecar.types import Features, Reading

_CHARS_PER_TOKEN: Final = 3  # from above, for English and code: the budget is for time
_MAX_TOKENS: Final = 256  # no window is longer to the encoder


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
    queue at most ``max_queue`` entries: one more is refused at once, for it
    could not be read in time.
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
        future: asyncio.Future[Reading] = self._loop.create_future()
        entry = _Entry(features.window, tokens, time.monotonic() + deadline, future)
        with self._wake:
            if len(self._queue) >= self._max_queue:
                raise ClassifierLate("the classifier's queue is full")
            self._queue.append(entry)
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
            self._deliver(left, ClassifierDown("the classifier is stopped"))

    def _next(self) -> list[_Entry] | None:
        """Wait for entries and take a batch; None once the classifier is closed."""
        with self._wake:
            while not self._queue and not self._closed:
                self._wake.wait()
            return None if self._closed else self._take()

    def _take(self) -> list[_Entry]:
        """The next batch, oldest first, without what is late or given up already."""
        now = time.monotonic()
        batch: list[_Entry] = []
        longest = 0
        while self._queue:
            entry = self._queue[0]
            if entry.expires <= now or entry.future.done():
                self._queue.popleft()
                continue
            # a batch is padded to its longest entry: that is what it costs
            longest = max(longest, entry.tokens)
            if batch and longest * (len(batch) + 1) > self._budget:
                break
            batch.append(self._queue.popleft())
        return batch

    def _read(self, batch: list[_Entry]) -> None:
        try:
            readings = self._reader.read([entry.window for entry in batch])
            if len(readings) != len(batch):
                raise ValueError("not one reading a window")
        except BaseException as exc:  # whatever an encoder raises, traffic flows on
            self._deliver(batch, ClassifierDown(f"the encoder failed: {type(exc).__name__}"))
            if not isinstance(exc, Exception):
                raise
            return
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
