"""What a newcomer sees, taken anew: the demo's words, and the dashboard over its traffic.

Runs ``sidecar demo --keep`` as a person would, records what it printed (README shows it), and
takes the dashboard in real Chromium, over a little more traffic: light, dark, and on a phone,
into docs/images. The machine should be quiet, for the pictures show its times; where it is
not, a real-time priority keeps others off.

    [chrt -r 5] python -m bench.pictures
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import re
import select
import shutil
import subprocess
import sys
import time
from typing import Any

from PIL import Image

from bench import ground
from bench.dashboard import BROWSERS
from sidecar.load.client import Address, Caller
from sidecar.load.scenarios import shots

IMAGES = ground.ROOT / "docs" / "images"
LIMIT_S = 180.0
SETTLE_MS = 6000.0  # of requests by the second, so that their line is one
RATE = 8.0  # requests a second meanwhile
MIX = {"short_chat": 4.0, "mixed_difficulty": 3.0, "large_tool_catalogue": 1.0}
COLUMNS = 96
COLOURS = 192  # enough for a page of few, at a third of the bytes
_WHERE = r"dashboard\s+(http://\S+)"
WIDE: dict[str, Any] = {"viewport": {"width": 1360, "height": 1180}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
SHOTS = (
    ("dashboard.png", {**WIDE, "color_scheme": "light"}),
    ("dashboard-dark.png", {**WIDE, "color_scheme": "dark"}),
    ("dashboard-phone.png", {**PHONE, "color_scheme": "light"}),
)


def printed(demo: subprocess.Popen[str], until: str) -> str:
    """What the demo prints up to the line that matches ``until``, with it."""
    assert demo.stdout is not None
    said, end = "", time.monotonic() + LIMIT_S
    while not re.search(until, said):
        ready, _, _ = select.select([demo.stdout], [], [], max(0.0, end - time.monotonic()))
        line = demo.stdout.readline() if ready else ""
        if not line:
            raise RuntimeError(f"the demo ended or hung:\n{said}")
        said += line
    return said


async def trickle(base_url: str) -> None:
    """Requests at a steady pace until cancelled: the page is of a sidecar at work."""
    caller = Caller(Address(base_url), 30)
    running: set[asyncio.Task[Any]] = set()
    try:
        for number, shot in enumerate(shots(MIX, 7)):
            send = caller.send(shot, "auto", stream=number % 2 == 0, start=time.monotonic(), due=0)
            task = asyncio.create_task(send)
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(1 / RATE)
    finally:
        for task in running:
            task.cancel()
        await caller.close()


async def shoot(url: str, base_url: str) -> None:
    from playwright.async_api import async_playwright, expect  # noqa: PLC0415  # of "dev"

    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise SystemExit("chromium is not installed: as root, make test installs it")
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as started, asyncio.TaskGroup() as aside:
        behind = aside.create_task(trickle(base_url))
        browser = await started.chromium.launch(
            executable_path=found, args=[*options, "--disable-dev-shm-usage"]
        )
        for name, look in SHOTS:
            context = await browser.new_context(reduced_motion="reduce", **look)
            page = await context.new_page()
            page.set_default_timeout(60_000)
            await page.goto(url)
            await expect(page.locator("#feed > li").nth(8)).to_be_attached(timeout=60_000)
            await page.wait_for_timeout(SETTLE_MS)
            taken = Image.open(io.BytesIO(await page.screenshot())).convert("RGB")
            taken.quantize(colors=COLOURS, dither=Image.Dither.NONE).save(
                IMAGES / name, optimize=True
            )
            print(f"docs/images/{name}", file=sys.stderr, flush=True)
            await context.close()
        await browser.close()
        behind.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=200)
    args = parser.parse_args()
    command = [sys.executable, "-m", "sidecar", "demo", "--keep", "--requests", str(args.requests)]
    env = {**os.environ, "COLUMNS": str(COLUMNS), "PYTHONUNBUFFERED": "1"}
    demo = subprocess.Popen(
        command,
        cwd=ground.ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        said = printed(demo, _WHERE)
        [url] = re.findall(_WHERE, said)
        [base_url] = re.findall(r"base URL\s+(http://\S+)", said)
        asyncio.run(shoot(url, base_url))
    finally:
        demo.terminate()
        demo.wait(20)
    told = "\n".join(line.rstrip() for line in said.splitlines())
    ground.record("pictures", {"demo": told.split("The models are mocks")[0].strip("\n")})


if __name__ == "__main__":
    main()
