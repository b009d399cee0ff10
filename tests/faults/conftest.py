"""Every fault is met by both upstream clients: what is promised is the sidecar's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import Running, Start
from tests.support.leaks import Leaks


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """Whatever happened, no task and no descriptor is there when sidecar and upstreams have gone.

    It is made before them and so ends after them. Threads of a pool may stay.
    """
    # a loop opens some descriptors of its own when it is first woken, and when it first listens
    await asyncio.to_thread(int)
    (await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)).close()
    await asyncio.sleep(0)
    leaks = Leaks(threads=False)
    yield
    await leaks.none()


@pytest.fixture(params=["lean", "aiohttp"])
def start(start: Start, request: pytest.FixtureRequest) -> Start:
    """A sidecar as everywhere, over one of the clients."""

    async def start_one(config: dict[str, object], **kw: Any) -> Running:
        return await start({"upstream_client": request.param, **config}, **kw)

    return start_one
