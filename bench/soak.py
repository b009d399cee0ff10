"""Soak: a fixed rate for a long time with faults on a schedule, and what grew.

Open loop, streams and not, hang-ups among them. In the last third of every period the
upstream fails in a tenth of its answers (500, 429, connections and streams cut, silence)
while requests have another model to fall back to; every tenth period the configuration is
reloaded and all traffic is pinned to one model for a few seconds. What is remembered
between requests is bounded so low that it is full before the warm-up, a tenth of the run,
is over: what grows afterwards is a leak.

Memory, files and threads are read from the kernel, tasks from ``/metrics``; a slope is the
least-squares line over the samples after the warm-up, with its standard error. A request is
lost when its caller got neither a whole answer nor an error that says so.

    python -m bench.soak                      # an hour at 20 requests a second
    python -m bench.soak --minutes 1          # the short form, of `make bench`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np
import uvloop

from bench import ground
from bench.drill import faulty
from bench.scenarios import able
from sidecar.load.client import Address, Caller, Sample
from sidecar.load.plan import Load
from sidecar.load.run import Due, upcoming
from sidecar.load.verdict import Spread, reading_of

MIX = {
    "mixed_difficulty": 6.0,
    "growing_conversation": 2.0,
    "large_tool_catalogue": 1.0,
    "tool_call_burst": 1.0,
    "client_hang_ups": 1.0,
}
WINDOWS = 12  # of what is told over time
KEPT = 500  # sessions, readings and answers to score: full within minutes
FIRST_CONTENT_S = 3.0  # after which a silent upstream is given up
PINNED_S = 5.0
OPERATOR_EVERY = 10  # periods


@dataclass(frozen=True)
class Seen:
    """The process at one moment of the run."""

    at: float  # seconds
    rss_mb: float
    files: int
    threads: int
    tasks: int
    cpu_s: float
    load: float  # of the machine


class Watch:
    """What the kernel and ``/metrics`` say of the sidecar while the load goes on."""

    def __init__(self, sidecar: ground.Sidecar) -> None:
        self._sidecar = sidecar
        self.seen: list[Seen] = []

    async def look(self, http: aiohttp.ClientSession, at: float) -> Seen:
        async with http.get(f"{self._sidecar.admin}/metrics") as answer:
            text = await answer.text()
        line = next(line for line in text.splitlines() if line.startswith("router_tasks "))
        process = self._sidecar.process
        return Seen(
            at,
            process.rss_mb(),
            process.files(),
            process.threads(),
            round(float(line.split()[1])),
            process.cpu_s(),
            os.getloadavg()[0],
        )

    async def run(self, http: aiohttp.ClientSession, start: float, seconds: float) -> None:
        while (at := time.monotonic() - start) < seconds:
            self.seen.append(await self.look(http, at))
            await asyncio.sleep(max(0.5, seconds / 400))


class Operator:
    """Reloads, and pins all traffic for a while: what an operator does to a running one."""

    def __init__(self, admin: str, every_s: float) -> None:
        self._admin = admin
        self._every_s = every_s
        self.done = {"reloads": 0, "kill switches": 0}

    async def run(self, http: aiohttp.ClientSession) -> None:
        switch = f"{self._admin}/admin/kill-switch"
        while True:
            await asyncio.sleep(self._every_s)
            async with http.post(f"{self._admin}/admin/reload", json={}) as answer:
                answer.raise_for_status()
            self.done["reloads"] += 1
            async with http.post(switch, json={"model": "large"}) as answer:
                answer.raise_for_status()
            await asyncio.sleep(min(PINNED_S, self._every_s / 4))
            async with http.delete(switch) as answer:
                answer.raise_for_status()
            self.done["kill switches"] += 1


async def soak(
    sidecar: ground.Sidecar, upstream: str, rate: float, seconds: float, period: float
) -> dict[str, Any]:
    """Load for ``seconds``; everything that was seen meanwhile. Ends early where either dies."""
    caller = Caller(Address(sidecar.url), 60)
    samples: list[Sample] = []
    watch = Watch(sidecar)
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        idle = await watch.look(http, 0.0)
        start = time.monotonic() + 0.1
        operator = Operator(sidecar.admin, min(OPERATOR_EVERY * period, seconds / 4))
        aside = [
            group.create_task(operator.run(http)),
            group.create_task(watch.run(http, start, seconds)),
            group.create_task(_tell(watch, samples, seconds)),
        ]
        try:
            await _send(caller, rate, seconds, start, samples)
        finally:
            await caller.close()
            for task in aside:
                task.cancel()
        await asyncio.sleep(2)  # what is over should be closed by now
        after = await watch.look(http, seconds)
        async with http.get(f"{upstream}/drill") as answer:
            injected = dict(await answer.json())
    return {
        **_told(samples, watch.seen, start, period, seconds),
        "injected": {**injected, **operator.done},
        **_growth(watch.seen),
        "idle": {"before": _idle(idle), "after": _idle(after)},
    }


async def _send(
    caller: Caller, rate: float, seconds: float, start: float, samples: list[Sample]
) -> None:
    """Every request at its moment; returns once the last is answered."""

    async def one(due: Due) -> None:
        samples.append(
            await caller.send(due.shot, "auto", stream=due.stream, start=start, due=due.at)
        )

    async with asyncio.TaskGroup() as running:
        for due in upcoming(Load(rate=rate, duration_s=seconds), MIX, 0):
            wait = start + due.at - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            running.create_task(one(due))


async def _tell(watch: Watch, samples: list[Sample], seconds: float) -> None:
    """A line each minute, so that a log can be followed."""
    while True:
        await asyncio.sleep(min(60.0, seconds / 4))
        now = watch.seen[-1]
        print(
            f"{now.at / 60:.1f} of {seconds / 60:g} minutes: {len(samples)} requests, "
            f"{sum(lost(s) for s in samples)} lost, {now.rss_mb:.1f} MB, {now.files} files, "
            f"{now.tasks} tasks, load {now.load:.1f}",
            file=sys.stderr,
            flush=True,
        )


def lost(sample: Sample) -> bool:
    """Whether the caller was left without a whole answer and without an error that says so."""
    told = sample.error.startswith(("status ", "an error event"))
    return bool(sample.error) and not told


def slope(at: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> dict[str, float]:
    """The least-squares slope an hour, and its standard error (as if samples were independent)."""
    x = at - at.mean()
    per_s = float(x @ (values - values.mean()) / (x @ x))
    rest = values - values.mean() - per_s * x
    error = float(np.sqrt(rest @ rest / max(1, len(x) - 2) / (x @ x)))
    return {"per_hour": round(per_s * 3600, 2), "error": round(error * 3600, 2)}


def _growth(seen: list[Seen]) -> dict[str, Any]:
    settled = seen[len(seen) // 10 :]
    at = np.array([one.at for one in settled])
    found: dict[str, Any] = {}
    for what in ("rss_mb", "files", "threads", "tasks"):
        values = np.array([float(getattr(one, what)) for one in settled])
        found[what] = {
            "first": round(float(getattr(seen[0], what)), 1),
            "settled": round(float(values[0]), 1),
            "most": round(float(values.max()), 1),
            "last": round(float(values[-1]), 1),
            "slope": slope(at, values),
        }
    half = len(at) // 2
    memory = np.array([one.rss_mb for one in settled])
    found["rss_mb"]["slope_second_half"] = slope(at[half:], memory[half:])
    return found


def _told(
    samples: list[Sample], seen: list[Seen], start: float, period: float, seconds: float
) -> dict[str, Any]:
    errors: dict[str, int] = {}
    reasons: dict[str, int] = {}
    saved = {"in the faults": 0, "between them": 0}  # answers that another model gave
    for s in samples:
        if s.error:
            errors[s.error] = errors.get(s.error, 0) + 1
        reasons[s.reason] = reasons.get(s.reason, 0) + 1
        if s.reason.startswith("fallback:"):
            saved["in the faults" if faulty(period, start + s.due_s) else "between them"] += 1
    return {
        "requests": len(samples),
        "seconds": seconds,
        "lost": sum(lost(s) for s in samples),
        "errors": errors,
        "reasons": reasons,
        "readings": Counter(filter(None, map(reading_of, samples))),  # the cache is on
        "fallbacks": saved,
        "hang_ups": sum(s.scenario == "client_hang_ups" for s in samples),
        "over_time": [_window(samples, seen, i, seconds / WINDOWS) for i in range(WINDOWS)],
    }


def _window(
    samples: list[Sample], seen: list[Seen], number: int, width: float
) -> dict[str, float | None]:
    """One twelfth of the run; latencies are the machine's of that moment, so its load is told."""
    low, high = width * number, width * (number + 1)
    inside = [s for s in samples if low <= s.due_s < high]
    moments = [one for one in seen if low <= one.at < high]
    decided = Spread.of(s.decision_ms for s in inside if s.decision_ms is not None)
    late = Spread.of(s.late_ms for s in inside)
    if not moments or decided is None:
        return {"requests": len(inside)}
    cpu = (moments[-1].cpu_s - moments[0].cpu_s) / max(1e-9, moments[-1].at - moments[0].at)
    return {
        "requests": len(inside),
        "failed": sum(bool(s.error) for s in inside),
        "generator_late_p99_ms": round(late.p99, 2) if late else None,
        "decision_p50_ms": round(decided.p50, 2),
        "decision_p99_ms": round(decided.p99, 2),
        "cpu_us_per_request": round(cpu * width / len(inside) * 1e6),
        "rss_mb": round(max(one.rss_mb for one in moments), 1),
        "load": round(max(one.load for one in moments), 2),
    }


def _idle(seen: Seen) -> dict[str, float]:
    return {"files": seen.files, "threads": seen.threads, "tasks": seen.tasks}


def config(upstream: str) -> dict[str, Any]:
    made = able(upstream)
    made["decision_cache"] = {"entries": KEPT}
    made["sessions"] = {"entries": KEPT}
    made["feedback"] = {"keep": KEPT}  # 20,000 answers by default, full after 17 minutes at 20/s
    made["upstreams"]["mock"]["timeouts"] = {"first_content_s": FIRST_CONTENT_S}
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--period", type=float, default=30.0, help="of the faults, seconds")
    args = parser.parse_args()
    with (
        ground.drilled_upstream(0.1, speed=4.0, period_s=args.period) as upstream,
        ground.sidecar(config(upstream)) as sidecar,
    ):
        print(f"{args.minutes:g} minutes at {args.rate:g} a second ...", file=sys.stderr)
        seconds = args.minutes * 60
        figures = uvloop.run(soak(sidecar, upstream, args.rate, seconds, args.period))
    ground.record("soak", figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
