"""A real Redis or Valkey server on a free port, without a file of its own."""

from __future__ import annotations

import asyncio
import shutil
import socket
from dataclasses import dataclass

import pytest

PROGRAM = shutil.which("valkey-server") or shutil.which("redis-server")
GENEROUS = 20.0


@dataclass
class RedisServer:
    """One server: it can be killed, and started again on the same port, empty."""

    port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        assert PROGRAM is not None
        self.process = await asyncio.create_subprocess_exec(
            PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no", "--protected-mode", "yes",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(GENEROUS):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    assert self.process.returncode is None, "the Redis server ended"
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


def free_server() -> RedisServer:
    """A server that is not started yet; skips where none is installed."""
    if PROGRAM is None:
        pytest.skip("no redis-server or valkey-server is installed: `make test` installs one")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return RedisServer(int(probe.getsockname()[1]))
