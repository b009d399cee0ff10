"""A real ``sidecar serve``, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml

GENEROUS = 60.0  # seconds: a busy machine starts processes slowly


@dataclass
class Process:
    """One ``sidecar serve`` and what it said."""

    process: asyncio.subprocess.Process
    stdout: str = ""
    stderr: str = ""
    listen: str = ""
    admin: str = ""
    _readers: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.listen}/v1"

    @property
    def said(self) -> str:
        return self.stdout + self.stderr

    async def _read(self, name: str) -> None:
        stream = getattr(self.process, name)
        while line := await stream.readline():
            setattr(self, name, getattr(self, name) + line.decode())

    async def serving(self) -> None:
        """Wait until it says where it serves."""
        async with asyncio.timeout(GENEROUS):
            while not (
                at := re.search(r"serving on http://(\S+)/v1, admin on http://(\S+)", self.stderr)
            ):
                assert self.process.returncode is None, self.said
                await asyncio.sleep(0.02)
        self.listen, self.admin = at.groups()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Its exit status, once it and its pipes are at an end."""
        async with asyncio.timeout(GENEROUS):
            await asyncio.gather(*self._readers)
            return await self.process.wait()

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.ended()

    def children(self) -> list[int]:
        """The processes it started, as the system knows them."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in listed.read_text().split()]


async def serve(
    file: Path,
    config: dict[str, object] | str,
    *options: str,
    env: dict[str, str] | None = None,
    files: int | None = None,
) -> Process:
    """Start ``sidecar serve`` over ``config``, on free ports unless ``options`` say others.

    ``files`` is the soft limit of open files that it starts with.
    """
    text = config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False)
    file.write_text(text)  # a small file, and nothing else runs yet
    if not options:
        options = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")

    def limit() -> None:
        if files is not None:
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "sidecar", "serve", "--config", str(file), *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
        preexec_fn=limit,
    )  # fmt: skip
    started = Process(process)
    started._readers = [
        asyncio.create_task(started._read("stdout")),
        asyncio.create_task(started._read("stderr")),
    ]
    return started
