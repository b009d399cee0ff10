"""The demo's child processes: started, waited for, and always ended.

A :class:`Child` ends with the ``async with`` block that holds it, whatever ends
the block. Children run in a session of their own, so that a Ctrl-C in the
terminal reaches the demo alone and it can end them in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from sidecar.demo.site import KEY_ENV, Site
from sidecar.errors import SidecarError

_START_S: Final = 30.0
_STOP_S: Final = 6.0
_POLL_S: Final = 0.05
_LOG_TAIL: Final = 15


class DemoError(SidecarError):
    """The demo could not run; the message says which part, and shows its last words."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running child and the file that has all that it said."""

    process: asyncio.subprocess.Process
    log: Path

    def gone(self) -> bool:
        return self.process.returncode is not None

    def last_words(self) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace").strip()
        return "\n".join(text.splitlines()[-_LOG_TAIL:])


@asynccontextmanager
async def mock_upstream(folder: Path, speed: float, key: str) -> AsyncIterator[str]:
    """A mock upstream in a process of its own; gives its base URL."""
    command = ["-m", "sidecar.demo.mock", "--speed", str(speed), "--api-key-env", KEY_ENV]
    command += ["--nice", "5"]  # it stands for machines elsewhere: it yields to what is here
    async with _child(command, folder / "mock.log", {KEY_ENV: key}, piped=True) as child:
        assert child.process.stdout is not None
        try:
            line = await asyncio.wait_for(child.process.stdout.readline(), _START_S)
            url: str = json.loads(line)["url"]
        except (TimeoutError, ValueError, KeyError):
            raise DemoError(f"The mock upstream did not start:\n{child.last_words()}") from None
        yield url


@asynccontextmanager
async def sidecar(site: Site, folder: Path, key: str) -> AsyncIterator[Child]:
    """The sidecar as a user would start it, once it says that it is ready."""
    command = ["-m", "sidecar.demo.leash", str(os.getpid()), sys.executable]
    command += ["-m", "sidecar", "serve", "--config", str(site.config_file)]
    async with _child(command, folder / "sidecar.log", {KEY_ENV: key}) as child:
        await _until_ready(child, site)
        yield child


async def state(site: Site) -> dict[str, Any]:
    """What ``/readyz`` says; empty while nobody answers or it is not ready."""
    timeout = aiohttp.ClientTimeout(total=2)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        try:
            async with session.get(f"{site.admin_url}/readyz") as answer:
                said: dict[str, Any] = await answer.json() if answer.status == 200 else {}
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return {}
    return said


async def _until_ready(child: Child, site: Site) -> None:
    deadline = asyncio.get_running_loop().time() + _START_S
    while not await state(site):
        if child.gone():
            raise DemoError(f"The sidecar ended before it was ready:\n{child.last_words()}")
        if asyncio.get_running_loop().time() > deadline:
            said = child.last_words()
            raise DemoError(f"The sidecar was not ready within {_START_S:.0f} s:\n{said}")
        await asyncio.sleep(_POLL_S)


@asynccontextmanager
async def _child(
    arguments: Sequence[str], log: Path, env: Mapping[str, str], *, piped: bool = False
) -> AsyncIterator[Child]:
    pipe = asyncio.subprocess.PIPE
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=pipe if piped else asyncio.subprocess.DEVNULL,
            stdout=pipe if piped else out,
            stderr=out,
            env={**os.environ, **env, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
    try:
        yield Child(process, log)
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask it to stop, insist after a while, and leave no zombie."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    finally:
        if process.returncode is None:  # cancelled while waiting
            with contextlib.suppress(ProcessLookupError):
                process.kill()
