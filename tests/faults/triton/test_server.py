"""The real Triton server dies, freezes and comes back; apps do not notice.

Each fault is met while clients keep asking. With the CPU path the backend changes and
nothing else; without it the reasons do. Once the server is good again, it is used again
within five seconds.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sidecar.encoder.bundle import Bundle
from sidecar.encoder.served import Served
from tests.support.pool import RETURN_S, Begin, becomes, calls, metrics, readiness
from tests.support.traffic import flowing
from tests.support.triton import TritonServer, serving

pytestmark = pytest.mark.timeout(300)
SHORT = Served.of(Bundle.load()).name(64)


async def test_a_killed_server_is_replaced_by_the_cpu_path_until_it_is_back(
    begin: Begin, triton: TritonServer
) -> None:
    sidecar = await begin()
    state = await readiness(sidecar)
    assert (state["mode"], state["backend"]) == ("ready", "triton")
    async with flowing(sidecar.url) as traffic:
        await traffic.after(20)
        triton.kill()
        await becomes(sidecar, "onnx")
        await traffic.after(20)
        state = await readiness(sidecar)
        assert (state["mode"], state["backend"]) == ("ready", "onnx")
        assert "not triton: " in state["backend_why"]
        assert "router_triton_degraded 1.0" in await metrics(sidecar)

        triton.start()
        await asyncio.to_thread(triton.wait_ready)
        await becomes(sidecar, "triton", RETURN_S)
        await traffic.after(20)
    assert set(traffic.reasons) == {"policy"}  # an answer of the CPU is as good a reading
    assert set(traffic.answers) == {"hello"}
    said = await metrics(sidecar)
    assert "router_triton_degraded 0.0" in said
    assert 'router_triton_calls_total{outcome="ok"}' in said


async def test_a_frozen_server_changes_reasons_and_is_used_again_when_it_thaws(
    begin: Begin, triton: TritonServer
) -> None:
    sidecar = await begin(fallback="none", deadline_ms=400)
    async with flowing(sidecar.url) as traffic:
        await traffic.after(10)
        triton.signal(signal.SIGSTOP)
        try:
            await becomes(sidecar, "none")
            frozen = len(traffic.reasons) + 4
            await traffic.after(20)
            until = len(traffic.reasons)
        finally:
            triton.signal(signal.SIGCONT)
        await becomes(sidecar, "triton", RETURN_S)
        thawed = len(traffic.reasons) + 4
        await traffic.after(20)
    assert set(traffic.reasons[frozen:until]) <= {"deadline", "classifier-down"}
    assert "policy" in traffic.reasons[thawed:]
    assert set(traffic.answers) == {"hello"}


async def test_an_unloaded_model_is_missed_and_found_again(
    begin: Begin, triton: TritonServer
) -> None:
    sidecar = await begin(fallback="none")
    async with flowing(sidecar.url) as traffic:
        await traffic.after(10)
        await asyncio.to_thread(triton.control, SHORT, "unload")
        await becomes(sidecar, "none")
        assert SHORT in sidecar.app.runtime.classifier.why
        await traffic.after(8)
        assert "classifier-down" in traffic.reasons
        await asyncio.to_thread(triton.control, SHORT, "load")
        await becomes(sidecar, "triton", RETURN_S)
        await traffic.after(8)
    assert traffic.reasons[-1] == "policy"
    assert set(traffic.answers) == {"hello"}


def callers(port: int) -> set[str]:
    """The other ends of the connections to a local ``port`` now."""
    # gRPC speaks IPv4 by sockets of IPv6
    text = "".join(Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    lines = [line.split() for line in text.splitlines()]
    return {each[2] for each in lines if each[1].endswith(f":{port:04X}") and each[3] == "01"}


async def test_a_connection_ends_when_it_is_old_and_no_app_notices(
    begin: Begin, tmp_path: Path
) -> None:
    """Only so do pods that joined the pool, behind one address, get a part of its clients."""
    with serving(tmp_path / "aging", AGE_S="2") as aging:
        sidecar = await begin(url=aging.url)
        seen: set[str] = set()
        async with flowing(sidecar.url) as traffic, asyncio.timeout(60):
            while len(seen) < 4:
                seen |= callers(aging.grpc)
                await asyncio.sleep(0.02)
        await becomes(sidecar, "triton", RETURN_S)
        said = await metrics(sidecar)
    assert set(traffic.reasons) == {"policy"}
    assert set(traffic.answers) == {"hello"}
    assert calls(said, "ok") > len(traffic.reasons) / 2


def test_killing_the_server_in_the_middle_of_a_demo_loses_nothing(triton: TritonServer) -> None:
    before = triton.inferences()
    command = [sys.executable, "-m", "sidecar", "demo", "--json", "--requests", "150"]
    command += ["--speed", "8", "--triton", triton.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as demo:
        try:
            while triton.inferences() < before + 20:
                assert demo.poll() is None
                time.sleep(0.05)
            triton.kill()
            assert demo.poll() is None
            said, log = demo.communicate(timeout=200)
        finally:
            demo.kill()
    triton.start()
    triton.wait_ready()
    assert demo.returncode == 0, log.decode()
    told = json.loads(said)
    assert (told["requests"], told["errors"]) == (150, 0)
    assert told["backend"] == "onnx"  # as the last decisions were made
