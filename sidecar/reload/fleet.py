"""Several workers behind one port, led by one of them.

The kernel spreads connections over processes that listen with SO_REUSEPORT. The
process that was started leads: it serves too, owns the admin port, starts the
others and tells them over a socket pair what an operator changes: the kill switch
and reloads reach every worker before the operator's call is answered, and metrics
are summed over all. A follower whose leader is gone drains and ends; a follower
that dies is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final

import orjson

from sidecar.errors import ConfigError, SidecarError
from sidecar.reload import live
from sidecar.runtime import Mode, Runtime

log = logging.getLogger("sidecar.fleet")

_READY_S: Final = 30.0
_ANSWER_S: Final = 5.0
_RESTART_S: Final = 1.0
_LINE: Final = 1 << 24  # bytes of one answer: a worker's metrics fit many times over


class WorkerError(SidecarError):
    """A worker that did not start, or does not answer."""


class Follower:
    """One other worker, as its leader sees it."""

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.number = number
        self._command = command
        self._turn = asyncio.Lock()
        self.process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def start(self) -> None:
        """Start it and wait until it serves."""
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            command = [*self._command, "--follow", f"{self.number}:{fd}"]
            self.process = await asyncio.create_subprocess_exec(
                *command, pass_fds=[fd], stdin=asyncio.subprocess.DEVNULL
            )
        self._reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=_LINE)
        try:
            async with asyncio.timeout(_READY_S):
                if not await self._reader.readline():
                    raise WorkerError(f"Worker {self.number} did not start: see its log above.")
        except TimeoutError:
            raise WorkerError(f"Worker {self.number} was not ready in time.") from None

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and await its answer; :class:`WorkerError` where none comes."""
        async with self._turn:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    assert self._reader is not None
                    assert self._writer is not None
                    self._writer.write(orjson.dumps(command) + b"\n")
                    await self._writer.drain()
                    line = await self._reader.readline()
                return dict(orjson.loads(line))
            except (TimeoutError, OSError, ValueError, AssertionError) as exc:
                raise WorkerError(f"Worker {self.number} does not answer.") from exc

    def close(self) -> None:
        """Let it know that it is to drain and end."""
        if self._writer is not None:
            self._writer.close()

    def hurry(self) -> None:
        """Let it wait for no request any longer."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGINT)

    async def ended(self, limit_s: float) -> None:
        """Wait for its end; kill it after ``limit_s``."""
        if self.process is None:
            return
        try:
            await asyncio.wait_for(self.process.wait(), limit_s)
        except TimeoutError:
            log.error("worker %d did not end in time", self.number)
            self.process.kill()
            await self.process.wait()


class Fleet:
    """The leader's view of the other workers. With none, everything is local."""

    def __init__(self, runtime: Runtime, command: Sequence[str], others: int) -> None:
        self._runtime = runtime
        self._followers = [Follower(n + 2, command) for n in range(others)]
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await asyncio.gather(*(follower.start() for follower in self._followers))
        if self._followers:
            self._watch = asyncio.create_task(self._keep_running())

    async def tell(self, **command: Any) -> list[dict[str, Any]]:
        """Every follower's answer; a dead one is left out, for it will start with the news."""
        answers = await asyncio.gather(
            *(follower.ask(**command) for follower in self._followers), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, WorkerError):
                raise answer
        return [answer for answer in answers if isinstance(answer, dict)]

    def hurry(self) -> None:
        """Let :meth:`stop` wait no longer for what the followers have in flight."""
        for follower in self._followers:
            follower.hurry()

    async def stop(self, limit_s: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        for follower in self._followers:
            follower.close()
        await asyncio.gather(*(follower.ended(limit_s) for follower in self._followers))

    async def _keep_running(self) -> None:
        while True:
            await asyncio.sleep(_RESTART_S)
            for follower in self._followers:
                if follower.process is None or follower.process.returncode is None:
                    continue
                log.error("worker %d died and is started again", follower.number)
                follower.close()
                with contextlib.suppress(SidecarError, OSError):
                    await follower.start()
                    await follower.ask(do="pin", model=self._runtime.pinned)


async def follow(fd: int, runtime: Runtime) -> None:
    """A follower's side: do what the leader says, until it closes or is gone."""
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=fd))
    writer.write(b"{}\n")
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            writer.write(orjson.dumps(_obey(orjson.loads(line), runtime)) + b"\n")
            await writer.drain()
    writer.close()


def _obey(command: dict[str, Any], runtime: Runtime) -> dict[str, Any]:
    what = command["do"]
    if what == "pin":
        if command["model"] is None:
            runtime.unpin()
        else:
            runtime.pin(command["model"])
    elif what == "reload":
        try:
            runtime.reload()
        except ConfigError as exc:
            return {"faults": exc.faults}
    elif what == "recall" and runtime.learning is not None:
        return {"answered": runtime.learning.recall(command["request_id"])}
    elif what == "gather" and runtime.learning is not None:
        return runtime.learning.gather()
    elif what == "told" and runtime.learning is not None:
        runtime.learning.told(command["beliefs"])
    elif what == "metrics":
        return {"metrics": runtime.telemetry.dump()}
    elif what == "live":
        return live.worker(runtime, command["seen"])
    return {"ready": runtime.mode is Mode.READY}


def command_line(arguments: Sequence[str]) -> list[str]:
    """How a follower is started: as this process was, over the same interpreter."""
    return [sys.executable, "-m", "sidecar", "serve", *arguments]
