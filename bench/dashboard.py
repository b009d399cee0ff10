"""How soon the dashboard is there: first paint by the browser's own clock, and its weight.

Real Chromium, driven by Playwright, over a real sidecar with some traffic behind it. Every
load is cold: a context of its own, so nothing is cached. Times are Paint Timing's, from the
start of the navigation; ``data_ms`` is when the page has shown the sidecar's first answer.
Between the loads the same browser opens ``/livez``, a line of text: what of a first paint is
the browser's and the machine's own. Bytes are those of the bodies that the page and its
files came in.

    python -m bench.dashboard [--loads N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import time
from typing import Any

from bench import ground
from bench.decision import config, connect, prompts, send

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TRAFFIC = 60  # requests before
LIMIT_S = 20.0
# both come with the same frame or one after the other: the second is waited for
_PAINT = """(() => { const seen = performance.getEntriesByType('paint')
  .map((e) => [e.name, e.startTime]); return seen.length === 2 && seen; })()"""
# run before the page's own scripts: notes when the page first shows what the sidecar said
_NOTE = """new MutationObserver((_, watch) => {
  if (document.querySelector('#mode')?.dataset.mode === 'ready') {
    globalThis.shown = performance.now(); watch.disconnect(); } })
  .observe(document, {subtree: true, childList: true, attributes: true})"""


async def measure(admin: str, loads: int) -> dict[str, Any]:
    from playwright.async_api import async_playwright  # noqa: PLC0415  # of the extra "dev"

    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise SystemExit("chromium is not installed: as root, make test installs it")
    options = ["--no-sandbox"] if os.geteuid() == 0 else []  # its sandbox refuses root
    seen: list[dict[str, float]] = []
    complaints: list[str] = []
    async with async_playwright() as started:
        browser = await started.chromium.launch(
            executable_path=found, args=[*options, "--disable-dev-shm-usage"]
        )
        version = browser.version
        for number in range(loads + 1):
            bare = await _load(browser, f"{admin}/livez", [])  # it has no icon, and is told so
            row = await _load(browser, admin, complaints)
            row["line_of_text_ms"] = bare["first_contentful_paint_ms"]
            if number:  # the first starts the browser's processes
                seen.append(row)
            print(f"load {number}: {row}", file=sys.stderr, flush=True)
        await browser.close()
    times = [key for key in seen[0] if key.endswith("_ms")]
    return {
        "browser": f"Chromium {version}",
        "loads": len(seen),
        **{key: _spread([row[key] for row in seen]) for key in times},
        "bytes": max(int(row["bytes"]) for row in seen),
        "complaints": complaints,
    }


async def _load(browser: Any, url: str, complaints: list[str]) -> dict[str, float]:
    """One cold load; the dashboard's until it shows what the sidecar said."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    await context.add_init_script(_NOTE)
    page = await context.new_page()
    weights: list[int] = []
    page.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
    page.on("pageerror", lambda fault: complaints.append(str(fault)))
    page.on("response", lambda got: weights.append(_weight(got)))
    await page.goto(url, wait_until="load")
    row = {}
    if not url.endswith("/livez"):
        row["data_ms"] = round(float(await _come(page, "globalThis.shown")), 1)
    paints = dict(await _come(page, _PAINT))
    await context.close()
    return {
        "first_paint_ms": paints["first-paint"],
        "first_contentful_paint_ms": paints["first-contentful-paint"],
        **row,
        "bytes": float(sum(weights)),
    }


async def _come(page: Any, expression: str) -> Any:
    """What the page says to ``expression``, once that is something.

    Asked from here: waiting in the page would take an eval, which its policy forbids.
    """
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        if found := await page.evaluate(expression):
            return found
        await asyncio.sleep(0.05)
    raise TimeoutError(f"{page.url}: no {expression} within {LIMIT_S:g} s")


def _weight(response: Any) -> int:
    """The body's length as told; what the page asks for again and again is not the page."""
    path = response.url.split("/", 3)[3]
    return 0 if path.startswith("admin/") else int(response.headers.get("content-length", 0))


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "min": round(min(values), 1),
        "p50": round(statistics.median(values), 1),
        "max": round(max(values), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--loads", type=int, default=9)
    args = parser.parse_args()
    with ground.mock_upstream() as upstream, ground.sidecar(config(upstream)) as sidecar:
        routed, path = connect(sidecar.url)
        for text in prompts(TRAFFIC):
            send(routed, path, "auto", text)
        figures = asyncio.run(measure(sidecar.admin, args.loads))
    ground.record("dashboard", figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
