"""``sidecar demo``, from the first process started to the last one gone.

The mock upstream and the sidecar run as processes of their own, as they would in
earnest; this process is the app. Everything started is inside one ``async with``,
and a signal cancels what runs inside it, so no way out leaves anything behind.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console

from sidecar.demo import processes, report, traffic
from sidecar.demo.feed import feed
from sidecar.demo.report import Example
from sidecar.demo.site import ROUTE, Site, lay_out
from sidecar.demo.traffic import Ask, Result

CONCURRENCY: Final = 4
SPEED: Final = 4.0  # times the mocks' natural pace
_EXPLAINED: Final = 80  # decisions whose difficulty is asked for
_SHOWN: Final = 9  # of them in the report
_TELLING: Final = frozenset({"policy", "capability"})  # reasons that a prompt gives


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked."""

    requests: int | None = None  # None: every prompt once
    as_json: bool = False
    keep: bool = False
    speed: float = SPEED
    triton: str | None = None  # a server that reads the prompts


def run(options: Options) -> int:
    """The exit code: 0, 1 where a request failed, 128 and the signal where one ended it."""
    traffic.require_client()
    return asyncio.run(_guarded(options))


async def _guarded(options: Options) -> int:
    """Run until done or until the first signal; later ones do not stop the tidying up."""
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(_run(options))
    caught: list[int] = []

    def on_signal(number: int) -> None:
        if not caught:
            caught.append(number)
            work.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await work
    except asyncio.CancelledError:
        if not caught:
            raise
        return 128 + caught[0]
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _run(options: Options) -> int:
    out = Console(stderr=options.as_json)
    live = Console(stderr=True)
    todo = list(traffic.asks(options.requests))
    key = secrets.token_urlsafe(16)
    with tempfile.TemporaryDirectory(prefix="pointsman-demo-") as name:
        folder = Path(name)
        live.print("Starting the mock models and the sidecar …", style="dim")
        async with processes.mock_upstream(folder, options.speed, key) as upstream:
            site = lay_out(folder, upstream, options.triton)
            async with processes.sidecar(site, folder, key) as child:
                live.print(_greeting(site, len(todo)), style="dim", highlight=False)
                began = time.perf_counter()
                with feed(live, len(todo)) as shown:
                    results = await traffic.send_all(site, todo, CONCURRENCY, shown.show)
                took = time.perf_counter() - began
                backend = str((await processes.state(site)).get("backend", "gone"))
                summary = report.summarise(results, site, took, backend)
                if options.as_json:
                    print(json.dumps(summary.to_json()), flush=True)
                else:
                    report.render(out, summary, await _examples(results, site), site)
                failed = bool(summary.faults)
                if options.keep:
                    _say_where(out, site, child.log)
                    with suppress(asyncio.CancelledError):  # Ctrl-C is how this ends
                        await child.process.wait()
                return 1 if failed else 0


def _greeting(site: Site, count: int) -> str:
    models = ", ".join(site.prices)
    return f'{count} requests, model="{ROUTE}", to choose among {models}'


def _say_where(out: Console, site: Site, log: Path) -> None:
    out.print()
    for name, value in (
        ("base URL", site.base_url),
        ("dashboard", f"{site.admin_url}/"),
        ("admin", site.admin_url),
        ("config", str(site.config_file)),
        ("log", str(log)),
    ):
        out.print(f"[bold]{name:<9}[/bold] {value}", highlight=False, soft_wrap=True)
    out.print("Still running, until Ctrl-C.", style="dim")


async def _examples(results: Sequence[Result], site: Site) -> list[Example]:
    """Decisions spread evenly over the difficulty of the prompts, easiest first.

    Chosen by difficulty alone, whatever was decided: what is shown is how it went.
    """
    good = [r for r in results if not r.error and r.reason in _TELLING and r.ask.gist]
    asked = good[:: max(1, len(good) // _EXPLAINED)]
    timeout = aiohttp.ClientTimeout(total=5)
    rated: list[Example] = []
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for result in asked:
            hard = await _difficulty(session, site, result.ask)
            if hard is not None:
                rated.append(Example(result.ask.gist, hard, result.model, result.reason))
    rated.sort(key=lambda example: example.difficulty)
    last = len(rated) - 1
    shown = min(_SHOWN, len(rated))
    return [rated[round(i * last / max(1, shown - 1))] for i in range(shown)]


async def _difficulty(session: aiohttp.ClientSession, site: Site, ask: Ask) -> float | None:
    """How hard the encoder finds this prompt, as the admin port explains it."""
    url = f"{site.admin_url}/admin/explain"
    try:
        async with session.post(url, json={"model": ROUTE, **ask.body}) as answer:
            story = await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    value = (story.get("reading") or {}).get("difficulty")
    return float(value) if isinstance(value, (int, float)) else None


if __name__ == "__main__":
    sys.exit(run(Options()))
