"""What a sidecar over a Triton server says of it: which backend reads, since when, and why."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.conftest import Running
from tests.support.wire import exchange

RETURN_S = 5.0  # from a server's return until it is used again
Begin = Callable[..., Awaitable[Running]]


def backend(sidecar: Running) -> str:
    return sidecar.app.runtime.classifier.name


async def becomes(sidecar: Running, name: str, within_s: float = 60.0) -> float:
    """Wait for the backend; seconds that it took."""
    began = time.monotonic()
    while backend(sidecar) != name:
        took = time.monotonic() - began
        assert took < within_s, f"{backend(sidecar)}: {sidecar.app.runtime.classifier.why}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def readiness(sidecar: Running) -> dict[str, Any]:
    request = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    reply = await exchange(sidecar.app.admin, request)
    assert reply.status == 200
    return dict(reply.json)


async def metrics(sidecar: Running) -> str:
    request = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    return (await exchange(sidecar.app.admin, request)).body.decode()


def calls(said: str, outcome: str) -> float:
    """How many calls to Triton ended so, by the sidecar's own metrics."""
    line = rf'^router_triton_calls_total{{outcome="{outcome}"}} (\S+)$'
    found = re.search(line, said, re.MULTILINE)
    return float(found[1]) if found else 0.0
