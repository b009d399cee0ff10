"""One Triton server, and sidecars over it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.app import App
from tests.conftest import Running
from tests.support.leaks import Leaks
from tests.support.pool import Begin, backend
from tests.support.triton import TritonServer, needed, serving


@pytest.fixture(scope="package")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    needed()
    with serving(tmp_path_factory.mktemp("triton")) as server:
        yield server


@pytest.fixture(autouse=True)
async def clean() -> AsyncIterator[None]:
    """Of this name in the folder too: here descriptors are not counted.

    gRPC keeps a pair of local sockets for every event loop that used it, each test has a loop of
    its own, and the core lets a closed channel's connection go when it likes. That they do not
    grow within one loop is what ``test_fifty_restarts`` of the classifier's unit tests says.
    """
    leaks = Leaks(threads=False, descriptors=False)
    yield
    await leaks.none()


@pytest.fixture
async def begin(
    config: dict[str, Any], triton: TritonServer, tmp_path: Path
) -> AsyncIterator[Begin]:
    """A sidecar over the server; but for its first, the keywords are of ``classifier.triton``."""
    async with contextlib.AsyncExitStack() as stack:

        async def one(classifier_ms: float = 3000, **keys: object) -> Running:
            keys = {"url": triton.url, "deadline_ms": 1500, "recheck_s": 0.3, **keys}
            config["decision_cache"] = {"entries": 0}  # every prompt is read anew
            config["classifier"] = {
                "backend": "triton",
                "deadline_ms": classifier_ms,
                "triton": keys,
            }
            file = tmp_path / "sidecar.yaml"
            file.write_text(yaml.safe_dump(config, sort_keys=False))
            app = await App.start(file, listen="127.0.0.1:0", admin="127.0.0.1:0")
            stack.push_async_callback(app.stop)
            assert backend(Running(app)) == "triton", app.why
            return Running(app)

        yield one
