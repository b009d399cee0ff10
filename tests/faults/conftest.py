"""Every fault is met by both upstream clients: what is promised is the sidecar's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Running, Start


@pytest.fixture(params=["lean", "aiohttp"])
def start(start: Start, request: pytest.FixtureRequest) -> Start:
    """A sidecar as everywhere, over one of the clients."""

    async def start_one(config: dict[str, object], **kw: Any) -> Running:
        return await start({"upstream_client": request.param, **config}, **kw)

    return start_one
