"""Real Chromium over a real sidecar. What the page says on its console fails the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conftest import Running
from tests.support.wire import chat, exchange, post

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 20_000  # a busy machine is slow, and no clock judges here


@dataclass
class Visit:
    """A page that is open, and everything it complained of."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    allowed: tuple[str, ...] = ()  # complaints that a test provokes

    def expect(self, selector: str) -> Any:
        """What is at ``selector``, to be judged until it holds."""
        return playwright.expect(self.page.locator(selector))

    async def settled(self) -> None:
        """Wait until the page has shown an answer of the sidecar."""
        await self.expect("#mode").not_to_have_attribute("data-mode", "loading")


Open = Callable[..., Awaitable[Visit]]


async def ask(sidecar: Running, text: str = "hello", **fields: Any) -> int:
    """What an app asks, so that there is something to see."""
    return (await exchange(sidecar.app.listen, post(chat(text, **fields)))).status


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("chromium is not installed: as root, make test installs it")
    playwright.expect.set_options(timeout=WAIT_MS)
    async with playwright.async_playwright() as started:
        # its sandbox refuses to run as root, which is what CI is
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        running = await started.chromium.launch(
            executable_path=found, args=[*options, "--disable-dev-shm-usage"]
        )
        yield running
        await running.close()


@pytest.fixture
async def visit(browser: Any) -> AsyncIterator[Open]:
    """Open a URL in a context of its own; keywords are Playwright's for the context."""
    visits: list[Visit] = []

    async def go(url: str, allowed: tuple[str, ...] = (), **context: Any) -> Visit:
        opened = await browser.new_context(**context)
        opened.set_default_timeout(WAIT_MS)
        page = await opened.new_page()
        made = Visit(page, allowed=allowed)
        page.on("console", lambda said: _note(made, said.type, said.text))
        page.on("pageerror", lambda error: _note(made, "error", str(error)))
        page.on("request", lambda request: made.requested.append(request.url))
        await page.goto(url)
        visits.append(made)
        return made

    yield go
    for made in visits:
        await made.page.context.close()
        assert made.complaints == []


def _note(made: Visit, kind: str, text: str) -> None:
    if kind in {"error", "warning"} and not any(words in text for words in made.allowed):
        made.complaints.append(text)
