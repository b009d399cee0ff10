"""Soak: a fixed rate for a long time with faults on a schedule, and what grew.

Open loop, streams and not, hang-ups among them; in the last third of every period the
upstream fails in a tenth of its answers (500, 429, streams cut before content) while
requests have another model to fall back to. Memory, open files and threads are read
from the kernel; the slope is a least-squares line over the samples after the first
tenth. A request is lost when its caller got neither a whole answer nor an error event.

    python -m bench.soak                      # an hour at 20 requests a second
    python -m bench.soak --minutes 1          # the short form, of `make bench`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

import numpy as np
import uvloop

from bench import ground
from bench.scenarios import able
from sidecar.load.client import Address, Caller, Sample
from sidecar.load.plan import Load
from sidecar.load.run import schedule
from sidecar.load.verdict import Spread

MIX = {
    "mixed_difficulty": 6.0,
    "growing_conversation": 2.0,
    "large_tool_catalogue": 1.0,
    "tool_call_burst": 1.0,
    "client_hang_ups": 1.0,
}
WINDOWS = 12  # of the latency over time


async def soak(sidecar: ground.Sidecar, rate: float, seconds: float) -> dict[str, Any]:
    """Load for ``seconds``; everything that was seen meanwhile."""
    load = Load(rate=rate, duration_s=seconds)
    caller = Caller(Address(sidecar.url), 60)
    samples: list[Sample] = []
    running: set[asyncio.Task[None]] = set()
    start = time.monotonic() + 0.1
    watch = asyncio.create_task(_watch(sidecar, start, seconds))

    async def one(due: Any) -> None:
        stream = due.stream
        sent = await caller.send(due.shot, "auto", stream=stream, start=start, due=due.at)
        samples.append(sent)

    try:
        for due in schedule(load, MIX, 0):
            wait = start + due.at - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(one(due))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
    finally:
        await caller.close()
    await asyncio.sleep(1)  # what is over should be closed by now
    idle = {"files": sidecar.process.files(), "threads": sidecar.process.threads()}
    return {**_told(samples, seconds), **_growth(await watch), "after": idle}


async def _watch(
    sidecar: ground.Sidecar, start: float, seconds: float
) -> list[tuple[float, float, int]]:
    """(seconds, MB, files), about 200 times."""
    seen = []
    while (at := time.monotonic() - start) < seconds:
        seen.append((at, sidecar.process.rss_mb(), sidecar.process.files()))
        await asyncio.sleep(max(0.5, seconds / 200))
    return seen


def _growth(seen: list[tuple[float, float, int]]) -> dict[str, Any]:
    settled = np.array(seen[len(seen) // 10 :])
    slope = float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0])
    return {
        "rss_mb": {
            "first": round(seen[0][1], 1),
            "settled": round(float(settled[0, 1]), 1),
            "last": round(seen[-1][1], 1),
            "slope_mb_per_hour": round(slope * 3600, 2),
        },
        "files": {"first": seen[0][2], "most": max(f for _, _, f in seen), "last": seen[-1][2]},
    }


def _told(samples: list[Sample], seconds: float) -> dict[str, Any]:
    errors: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for s in samples:
        if s.error:
            errors[s.error] = errors.get(s.error, 0) + 1
        reasons[s.reason] = reasons.get(s.reason, 0) + 1
    windows = []
    for i in range(WINDOWS):
        low, high = seconds * i / WINDOWS, seconds * (i + 1) / WINDOWS
        inside = (s.decision_ms for s in samples if low <= s.due_s < high)
        spread = Spread.of(ms for ms in inside if ms is not None)
        windows.append(None if spread is None else round(spread.p99, 2))
    return {
        "requests": len(samples),
        "seconds": seconds,
        "lost": sum(errors.values()),
        "errors": errors,
        "reasons": reasons,
        "decision_p99_ms_over_time": windows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--period", type=float, default=30.0, help="of the faults, seconds")
    args = parser.parse_args()
    with (
        ground.drilled_upstream(0.1, speed=4.0, period_s=args.period) as upstream,
        ground.sidecar(able(upstream)) as sidecar,
    ):
        print(f"{args.minutes:g} minutes at {args.rate:g} a second ...", file=sys.stderr)
        figures = uvloop.run(soak(sidecar, args.rate, args.minutes * 60))
    ground.record("soak", figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
