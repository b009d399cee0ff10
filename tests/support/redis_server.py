"""A real Redis or Valkey server on a free port, without a file of its own."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import socket
from dataclasses import dataclass

import pytest

PROGRAM = shutil.which("valkey-server") or shutil.which("redis-server")
GENEROUS = 20.0
# Below those that the system gives to whoever connects: one of these could be taken before
# the server starts, by the very connection that looks whether it has.
_PORTS = range(20_000, 32_000)


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
                assert self.process.returncode is None, "the Redis server ended"
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.write(b"PING\r\n")
                    answer = await reader.readline()
                    writer.close()
                    await writer.wait_closed()
                except OSError:
                    answer = b""
                if answer == b"+PONG\r\n":
                    return
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


def free_server() -> RedisServer:
    """A server that is not started yet; skips where none is installed."""
    if PROGRAM is None:
        pytest.skip("no redis-server or valkey-server is installed: `make test` installs one")
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return RedisServer(port)
    raise OSError("no port is free for a Redis server")
