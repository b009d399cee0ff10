"""What runs as a whole goes as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.leaks import nothing_left


@pytest.fixture(autouse=True)
async def clean() -> AsyncIterator[None]:
    """No task and no descriptor is there when what a test started has gone.

    It is made before that and so ends after it.
    """
    async with nothing_left():
        yield
