"""What the demo starts, it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.demo import processes, site
from sidecar.demo.processes import DemoError


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_child_ends_with_the_block_that_holds_it(tmp_path: Path) -> None:
    pids = []

    async def broken() -> None:
        sleeper = ["-c", "import time; time.sleep(60)"]
        async with processes._child(sleeper, tmp_path / "log", {}) as child:
            pids.append(child.process.pid)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        await broken()
    assert not alive(pids[0])


async def test_a_child_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_STOP_S", 0.2)
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(60)"
    log = tmp_path / "log"
    async with processes._child(["-c", code], log, {}) as child:
        while not log.read_text():  # until it has said that it ignores it
            await asyncio.sleep(0.01)
    assert child.process.returncode == -signal.SIGKILL


async def test_a_sidecar_that_does_not_start_shows_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(
        site._TEMPLATE.read_text().replace("policy: cost_quality", "policy: nonsense")
    )
    monkeypatch.setattr(site, "_TEMPLATE", broken)
    place = site.lay_out(tmp_path, "http://127.0.0.1:9/v1")
    with pytest.raises(DemoError, match=r"(?s)ended before it was ready.*routes\.auto\.policy"):
        async with processes.sidecar(place, tmp_path, "k"):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of the death")
def test_a_leashed_command_does_not_outlive_its_parent() -> None:
    sleeper = "import time; print('up', flush=True); time.sleep(100)"
    parent = (
        "import os, subprocess, sys, time\n"
        "leash = [sys.executable, '-m', 'sidecar.demo.leash', str(os.getpid()), sys.executable]\n"
        f"subprocess.Popen([*leash, '-c', {sleeper!r}])\n"
        "time.sleep(100)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.kill()
        assert process.stdout.read() == b""  # comes when nobody holds the other end
