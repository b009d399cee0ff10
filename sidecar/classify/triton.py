"""The Triton backend: the GPU pool while it is good, the in-process encoder while it is not.

Contract: :meth:`TritonClassifier.classify` spends at most a share of the deadline on the
server and gives what is left to the CPU path; whatever the server does, the answer is a
reading or a ClassifierError in time. The breaker stops asking a server that fails, and a
task in the background finds out when it may be asked again: it checks version, tokenizer
and labels first, at every connection and every ``recheck_s`` after. ``name`` is what reads
requests now, ``why`` says so in words.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from sidecar.classify.batcher import BatchingClassifier
from sidecar.classify.breaker import Breaker
from sidecar.classify.triton_pool import Pool
from sidecar.config.schema import Triton as Settings
from sidecar.encoder.tokens import Tokens
from sidecar.errors import ClassifierDown, ClassifierError, ClassifierLate, trace
from sidecar.observe.metrics import Registry
from sidecar.types import Features, Reading

SHARE: Final = 0.6  # of the deadline, for the server, where no time is configured
START_S: Final = 3.0  # to wait for the server when the process starts
STALL: Final = 2.0  # shares of the deadline after which it was this process that stood still
log = logging.getLogger("sidecar.classify")


class TritonClassifier:
    """Awaits a :class:`~sidecar.classify.triton_pool.Pool`, with ``cpu`` to fall back on."""

    def __init__(
        self,
        pool: Pool,
        tokens: Tokens,
        version: str,
        settings: Settings,
        *,
        deadline_s: float,
        cpu: BatchingClassifier | None,
        registry: Registry,
    ) -> None:
        self.version = version
        self._pool = pool
        self._tokens = tokens
        self._cpu = cpu
        self._deadline = deadline_s
        own = settings.deadline_ms
        self._share = SHARE * deadline_s if own is None else min(own / 1e3, deadline_s)
        self._recheck_s = settings.recheck_s
        self._breaker = Breaker(settings.trip_after)
        self._calls = registry.counter(
            "router_triton_calls", "Prompts sent to Triton, by how that ended.", ("outcome",)
        )
        registry.gauge(
            "router_triton_degraded",
            "Workers that should read prompts by Triton and do not now.",
            read=lambda: float(not self._breaker.closed),
        )
        registry.gauge(
            "router_triton_in_flight",
            "Calls to Triton under way, those that nobody awaits any more included.",
            read=lambda: float(pool.in_flight),
        )
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()  # the breaker opened, or the channel changed
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._failures = 0  # probes in a row
        self._reads = True  # whether the last probe did
        self._wrong: ClassifierError = ClassifierDown("Triton has not answered yet")

    @property
    def name(self) -> str:
        """What reads requests now: ``triton``, ``onnx``, or ``none``."""
        if self._breaker.closed:
            return "triton"
        return "none" if self._cpu is None else self._cpu.name

    @property
    def why(self) -> str:
        """Why it is that, in words."""
        if self._breaker.closed:
            return f"Triton at {self._pool.url} serves encoder {self.version}"
        return f"not triton: {self._wrong}"

    @property
    def queued(self) -> int:
        """Prompts that wait for the encoder in process."""
        return 0 if self._cpu is None else self._cpu.queued

    @property
    def shed(self) -> int:
        """Prompts that the encoder in process refused when they came."""
        return 0 if self._cpu is None else self._cpu.shed

    async def start(self) -> None:
        """Find out whether the server may be asked, for a bounded time; then keep at it."""
        probe = asyncio.create_task(self._probe())
        done, _ = await asyncio.wait({probe}, timeout=START_S)
        if done:
            self._judge(probe.result())
        self._tasks = [
            asyncio.create_task(self._watch(probe)),
            asyncio.create_task(self._follow()),
        ]

    async def classify(self, features: Features) -> Reading:
        if self._closed:
            raise ClassifierDown("the classifier is stopped")
        began = self._loop.time()
        fault: ClassifierError
        if not self._breaker.closed:
            fault = type(self._wrong)(str(self._wrong))
        elif self._pool.full:
            fault = self._failed("full", ClassifierLate("too many calls to Triton are out"))
        else:
            try:
                return await self._ask(features.window, began)
            except ClassifierError as error:
                fault = error
        left = self._deadline - (self._loop.time() - began)
        if self._cpu is None:
            raise fault
        if left <= 0:
            raise ClassifierLate("the decision deadline passed")
        return await self._cpu.classify(features, within_s=left)

    async def _ask(self, window: str, began: float) -> Reading:
        (ids,) = self._tokens.encode([window])
        call = self._pool.send(ids)
        left = self._share - (self._loop.time() - began)
        done, _ = await asyncio.wait((call,), timeout=max(0.0, left))
        if not done:  # it finishes by itself, and its answer is dropped
            late = ClassifierLate("Triton's share of the deadline passed")
            if self._loop.time() - began > STALL * self._share:
                self._calls.add(("late",))  # and not held against the server
                raise late
            raise self._failed("late", late)
        try:
            reading = call.result()
        except ClassifierLate as error:
            raise self._failed("full", error) from None
        except ClassifierError as error:
            raise self._failed("failed", error) from None
        self._calls.add(("ok",))
        self._breaker.record(True)
        return reading

    def _failed(self, outcome: str, fault: ClassifierError) -> ClassifierError:
        self._calls.add((outcome,))
        if self._breaker.record(False):
            self._opened(fault)
        return fault

    def _opened(self, why: ClassifierError) -> None:
        self._wrong = why
        self._news.set()
        log.warning("Triton is not asked for now; readings come from %s: %s", self.name, why)

    async def close(self) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._pool.close()
        if self._cpu is not None:
            await self._cpu.close()

    # -- in the background ------------------------------------------------------------

    async def _probe(self) -> ClassifierError | None:
        # while requests are read well, they are the proof that it is fast enough
        self._reads = not self._breaker.closed
        try:
            return await self._pool.verify(self._share if self._reads else None)
        except Exception as error:  # whatever a server may send: it is not asked
            log.error("the probe of Triton failed: %s", trace(error))
            name = type(error).__name__
            return ClassifierDown(f"the probe of Triton at {self._pool.url} failed ({name})")

    async def _watch(self, probe: asyncio.Task[ClassifierError | None]) -> None:
        """Probe, act on it, and wait: for news, or as long as the breaker says."""
        while True:
            wait = self._judge(await probe)
            asked = self._breaker.closed
            await self._pause(wait)
            if asked and not self._breaker.closed:  # it failed in use: not at once again
                self._news.clear()
                await self._pause(self._breaker.wait_s(0))
            self._news.clear()
            probe = asyncio.create_task(self._probe())

    def _judge(self, wrong: ClassifierError | None) -> float:
        """Act on a probe that found ``wrong``, or nothing; seconds until the next."""
        if wrong is None:
            self._failures = 0
            if not self._breaker.closed and not self._reads:
                return self._breaker.wait_s(0)  # it failed in use while it was looked at
            if not self._breaker.closed:
                self._breaker.close()
                log.info("Triton at %s is asked from now on", self._pool.url)
            return self._recheck_s
        wait = self._breaker.wait_s(self._failures)
        self._failures += 1
        self._wrong = wrong
        if self._breaker.open():
            self._opened(wrong)
        return wait

    async def _pause(self, wait_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), wait_s)

    async def _follow(self) -> None:
        """A connection that is lost closes the way to the server; a new one is checked first."""
        while True:
            connected = await self._pool.changed()
            if self._breaker.open():
                lost = f"the connection to Triton at {self._pool.url} was lost"
                self._opened(ClassifierDown(lost))
            elif connected:
                self._news.set()
