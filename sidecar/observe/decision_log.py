"""The decision log's file: appended off the event loop, rotated by size.

Lines gather in memory and a thread writes them twice a second, so a disk that
stalls delays no answer; what gathers is bounded, and lines beyond the bound are
dropped and counted rather than kept until memory runs out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from pathlib import Path
from typing import Final, Protocol

log = logging.getLogger("sidecar.decision_log")

_EVERY_S: Final = 0.5
_MOST_LINES: Final = 50_000


class Sink(Protocol):
    """Where the lines of the decision log go."""

    def write(self, line: bytes) -> None: ...
    async def close(self) -> None: ...


class FileSink:
    """A file, or standard output for ``-``. Needs a running event loop.

    At ``max_bytes`` the file becomes ``NAME.1``, and that ``NAME.2``, up to
    ``keep`` of them.
    """

    def __init__(self, name: str, max_bytes: int, keep: int) -> None:
        self._path = None if name == "-" else Path(name)
        self._max = max_bytes
        self._keep = keep
        self._lines: list[bytes] = []
        self.dropped = 0
        if self._path is not None:
            with self._path.open("ab"):  # a file that cannot be written is a fault now
                pass
        self._task = asyncio.get_running_loop().create_task(self._write_on())

    def write(self, line: bytes) -> None:
        if len(self._lines) >= _MOST_LINES:
            self.dropped += 1
            return
        self._lines.append(line)

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._flush()

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            await self._flush()

    async def _flush(self) -> None:
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        try:
            await asyncio.shield(asyncio.to_thread(self._append, b"\n".join(lines) + b"\n"))
        except OSError as exc:
            self.dropped += len(lines)
            log.error("the decision log cannot be written: %s", exc.strerror)

    def _append(self, data: bytes) -> None:
        if self._path is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_size + len(data) > self._max:
                self._rotate(self._path)
        with self._path.open("ab") as file:
            file.write(data)

    def _rotate(self, path: Path) -> None:
        for number in range(self._keep - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number + 1}"))
        if self._keep:
            path.replace(path.with_name(f"{path.name}.1"))
        else:
            path.unlink()
