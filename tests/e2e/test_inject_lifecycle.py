"""An injected pod's life, rehearsed with real processes in a kubelet's order."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import config_for
from tests.support.kubelet import Pod
from tests.support.pods import plain
from tests.support.raw_upstream import DONE, RawUpstream, event, stream
from tests.support.read_only import READ_ONLY
from tests.support.webhook import ApiServer, credentials, put, start

SHUTDOWNS = 50
AT_ONCE = 5  # pods: what two cores start in the same time
WORDS = 12
# a stream of half a second, whose end a shutdown in its midst must reach
STREAM = stream(*(part for n in range(WORDS) for part in (event({"content": f"w{n}"}), 0.04)), DONE)
Make = Callable[..., Awaitable[Pod]]


@pytest.fixture
async def make(tmp_path: Path, upstream: RawUpstream) -> AsyncIterator[Make]:
    pods: list[Pod] = []
    config: dict[str, Any] = {
        **config_for(upstream.url),
        "classifier": {"backend": "heuristic"},  # the encoder would take the cores of two
        "drain_s": 60.0,
    }
    upstream.script = STREAM

    async def one(*arguments: str, within: tuple[str, ...] = (), **changed: Any) -> Pod:
        folder = tmp_path / f"pod{len(pods)}"
        pod = Pod(folder, {**config, **changed}, arguments, within)
        pods.append(pod)
        await pod.start()
        return pod

    yield one
    for pod in pods:
        await pod.kill()


@pytest.mark.timeout(900)
async def test_no_stream_is_cut_in_fifty_shutdowns(make: Make) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def rehearse(number: int) -> tuple[int, int]:
        async with room:
            pod = await make("4")
            await pod.streaming()
            await asyncio.sleep(number % 10 * 0.05)  # at another moment of the streams each time
            ended = await pod.shut_down()
        assert (ended.app, ended.sidecar) == (0, 0), ended.log
        assert ended.said["cut"] == 0, ended.log
        assert "Traceback" not in ended.log
        return ended.said["at_sigterm"], ended.said["whole"]

    async with asyncio.TaskGroup() as group:  # one that fails ends the others
        tasks = [group.create_task(rehearse(number)) for number in range(SHUTDOWNS)]
    rehearsed = [task.result() for task in tasks]
    in_flight = sum(flying for flying, _ in rehearsed)
    assert in_flight > SHUTDOWNS * 2  # it was streams in flight that were not cut
    assert sum(whole for _, whole in rehearsed) >= in_flight


async def test_a_job_completes_and_the_sidecar_does_not_keep_its_pod(make: Make) -> None:
    pod = await make("2", "6")
    ended = await pod.completed()
    assert (ended.app, ended.sidecar) == (0, 0), ended.log
    assert ended.said == {"whole": 6, "cut": 0, "at_sigterm": 0}


async def test_with_the_app_gone_the_sidecar_does_not_wait_for_its_drain(make: Make) -> None:
    """drain_s is 60 here: what ends sooner did not wait for anybody."""
    pod = await make("2", "2")
    assert pod.app is not None
    await pod.app.wait()
    began = time.monotonic()
    ended = await pod.completed()
    assert ended.sidecar == 0
    assert time.monotonic() - began < 30


def test_what_runs_read_only_can_write_nothing(tmp_path: Path) -> None:
    """Of the two tests below: what they run in is what it says."""
    file = tmp_path / "file"
    writing = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('x')"
    command = [*READ_ONLY, sys.executable, "-c", writing]
    done = subprocess.run([*command, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "OSError" in done.stderr
    assert not file.exists() or not file.read_bytes()


async def test_the_sidecar_needs_no_privilege_and_nothing_to_write_to(make: Make) -> None:
    """As the patch's securityContext has it: the encoder loaded, decisions made and logged."""
    pod = await make(
        "2", within=READ_ONLY, classifier={"backend": "onnx"}, decision_log={"file": "-"}
    )
    await pod.streaming()
    ended = await pod.shut_down()
    assert (ended.app, ended.sidecar) == (0, 0), ended.log
    assert ended.said["cut"] == 0, ended.log
    assert "classifier: onnx" in ended.log
    assert '"route":"auto"' in ended.log
    assert "Errno" not in ended.log
    assert "Traceback" not in ended.log


async def test_the_webhook_needs_no_privilege_and_nothing_to_write_to(tmp_path: Path) -> None:
    made = credentials()
    put(tmp_path / "tls", made)
    replica = start(tmp_path / "tls", within=READ_ONLY)
    try:
        await replica.serving()
        async with ApiServer(made.authorities) as api:
            assert "patch" in await api.ask(replica.listen, plain())
        replica.terminate()
        assert await replica.ended() == 0
        assert "Errno" not in replica.said
        assert "Traceback" not in replica.said
    finally:
        replica.kill()
