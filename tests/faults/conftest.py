"""Every fault is met by both upstream clients: what is promised is the sidecar's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import Running, Start
from tests.support.leaks import nothing_left


@pytest.fixture(autouse=True)
async def clean() -> AsyncIterator[None]:
    """Whatever happened, no task and no descriptor is there when sidecar and upstreams have gone.

    It is made before them and so ends after them.
    """
    async with nothing_left():
        yield


@pytest.fixture(params=["lean", "aiohttp"])
def start(start: Start, request: pytest.FixtureRequest) -> Start:
    """A sidecar as everywhere, over one of the clients."""

    async def start_one(config: dict[str, object], **kw: Any) -> Running:
        return await start({"upstream_client": request.param, **config}, **kw)

    return start_one
