"""What every test may ask for: an upstream made of bytes, and a sidecar in front of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop
import yaml
from hypothesis import HealthCheck, settings

from sidecar import pipeline
from sidecar.app import App
from sidecar.classify.base import Classifier
from sidecar.classify.batcher import BatchingClassifier
from sidecar.classify.dummy import DummyReader
from sidecar.types import Reading
from tests.support.no_skips import NoSkips
from tests.support.raw_upstream import RawUpstream
from tests.support.tls import Authority
from tests.support.triton import TritonServer, needed, serving

# A busy machine must not fail a property: no clock judges an example.
settings.register_profile(
    "unhurried", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI"):
        config.pluginmanager.register(NoSkips())
    if os.environ.get("COMPILED") and not str(pipeline.__file__).endswith(".so"):
        pytest.exit(f"compiled modules were to be tested, and this is {pipeline.__file__}", 2)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that serves in production: what is tested is what runs."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for upstreams that speak TLS."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    server = RawUpstream()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def second() -> AsyncIterator[RawUpstream]:
    """Another upstream, for what a fallback must reach."""
    server = RawUpstream()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """The real Triton server over the CPU repository, for who leaves it as it is."""
    needed()
    with serving(tmp_path_factory.mktemp("triton")) as server:
        yield server


def by_word(window: str) -> Reading:
    """A reading that a test steers: a window with HARD in it is hard, any other easy."""
    return Reading(difficulty=0.97 if "HARD" in window else 0.02, version="dummy-1")


@dataclass
class Running:
    """A sidecar and where it is."""

    app: App

    @property
    def url(self) -> str:
        return f"http://{self.app.listen}/v1"

    @property
    def admin(self) -> str:
        return f"http://{self.app.admin}"


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a sidecar in this process over a config given as Python values.

    ``classifier`` is "dummy" (steered by :func:`by_word`), a reader-like object
    to batch, a whole classifier, or None for the configured one.
    """
    running: list[Running] = []

    async def start_one(
        config: dict[str, object],
        classifier: Classifier | DummyReader | str | None = "dummy",
        deadline_s: float = 1.0,
    ) -> Running:
        file = tmp_path / f"sidecar{len(running)}.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        if classifier == "dummy":
            classifier = DummyReader(by_word)
        if isinstance(classifier, DummyReader):
            classifier = BatchingClassifier(classifier, name="dummy", deadline_s=deadline_s)
        assert not isinstance(classifier, str)
        app = await App.start(
            file, listen="127.0.0.1:0", admin="127.0.0.1:0", classifier=classifier
        )
        running.append(Running(app))
        return running[-1]

    yield start_one
    for one in running:
        await one.app.stop()


def config_for(url: str, second_url: str | None = None) -> dict[str, object]:
    """Two models, small on ``url`` and large on ``second_url`` (or the same), and a route."""
    return {
        "upstreams": {
            "local": {"base_url": url},
            "other": {"base_url": second_url or url},
        },
        "models": {
            "small": {
                "upstream": "local",
                "upstream_model": "tiny-1",
                "ability": "llama-3.1-8b-instruct",
                "price": {"input": 0.07, "output": 0.07},
                "context": 8192,
                "capabilities": ["tools", "json_schema"],
            },
            "large": {
                "upstream": "other",
                "upstream_model": "huge-1",
                "ability": "gpt-4o-2024-08-06",
                "price": {"input": 2.5, "cached_input": 1.25, "output": 10},
                "context": 128000,
                "capabilities": ["tools", "json_schema", "vision"],
            },
        },
        "routes": {
            "auto": {
                "policy": "cost_quality",
                "models": ["small", "large"],
                "quality": 0.9,
                "default": "large",
            }
        },
        "drain_s": 2.0,
    }


@pytest.fixture
def config(upstream: RawUpstream, second: RawUpstream) -> dict[str, object]:
    """The usual two-model configuration: small on ``upstream``, large on ``second``."""
    return config_for(upstream.url, second.url)
