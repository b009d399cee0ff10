"""How a decision's latency holds up: by clients, by rate up to saturation, by length.

The sidecar and the mock upstream are processes of their own; the load generator
shares the machine with them. Clients are closed loops; rates are open ones (Poisson),
whose latency counts from the moment a request was due. Every prompt is new, so no
cache answers. The decision's time is the sidecar's own header; the stages are those of
``Server-Timing``.

    python -m bench.load [--seconds N]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import uvloop
from tokenizers import Tokenizer

from bench import ground
from bench.decision import SENTENCES, config, spread
from sidecar.encoder.bundle import Bundle
from sidecar.load.client import Address, Caller, Sample
from sidecar.load.scenarios import Shot, arrivals
from sidecar.load.verdict import Spread, reading_of

CLIENTS = (1, 8, 32, 128)
RATES = (25, 50, 100, 150, 200, 300)
LENGTHS = (32, 128, 512, 2000, 8000)  # tokens, as the encoder's tokenizer counts them
_WORDS = " ".join(SENTENCES).split()


def texts(length: int, seed: int = 1) -> Iterator[str]:
    """Prompts of about ``length`` tokens, each of them new."""
    rng = random.Random(seed)
    tokenizer = Tokenizer.from_buffer(Bundle.load().tokenizer)
    words = max(1, length // 2)
    sample = " ".join(rng.choices(_WORDS, k=words))
    # one probe says how many words make the length; pieces a word hardly vary
    per_word = len(tokenizer.encode(sample, add_special_tokens=False).ids) / words
    count = max(1, round((length - 6) / per_word))
    for number in itertools.count():
        yield f"Explain case {number}: " + " ".join(rng.choices(_WORDS, k=count))


def shot(text: str) -> Shot:
    return Shot("prompt", ({"role": "user", "content": text},))


async def closed(url: str, clients: int, seconds: float, length: int) -> list[Sample]:
    """``clients`` loops that ask, wait for the whole answer, and ask again."""
    caller = Caller(Address(url), 60)
    feed = texts(length, clients)
    samples: list[Sample] = []
    end = time.monotonic() + seconds

    async def one() -> None:
        while time.monotonic() < end:
            start = time.monotonic()
            samples.append(
                await caller.send(shot(next(feed)), "auto", stream=False, start=start, due=0)
            )

    try:
        await asyncio.gather(*(one() for _ in range(clients)))
    finally:
        await caller.close()
    return samples


async def opened(url: str, rate: float, seconds: float, length: int) -> list[Sample]:
    """Requests at ``rate`` a second whatever becomes of them."""
    caller = Caller(Address(url), 60)
    feed = texts(length, int(rate))
    due = [(at, shot(next(feed))) for at in arrivals(rate, seconds, int(rate))]
    running = []
    start = time.monotonic() + 0.1
    try:
        for at, what in due:
            wait = start + at - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            send = caller.send(what, "auto", stream=False, start=start, due=at)
            running.append(asyncio.create_task(send))
        return list(await asyncio.gather(*running))
    finally:
        await caller.close()


def told(samples: list[Sample], seconds: float, cpu_s: float) -> dict[str, Any]:
    good = [s for s in samples if not s.error]
    decided = [s.decision_ms for s in good if s.decision_ms is not None]
    reasons: dict[str, int] = {}
    for s in good:
        reasons[s.reason] = reasons.get(s.reason, 0) + 1
    late = Spread.of(s.late_ms for s in samples)
    return {
        "requests": len(samples),
        "per_s": round(len(good) / seconds, 1),
        "errors": len(samples) - len(good),
        "decision_ms": spread(decided) if decided else None,
        "total_ms": spread([s.total_ms for s in good]) if good else None,
        "reasons": reasons,
        "readings": Counter(map(reading_of, good)),  # that no cache answered is measured too
        "generator_late_p99_ms": round(late.p99, 2) if late else None,
        "sidecar_cpu_us": round(cpu_s / max(1, len(samples)) * 1e6),
    }


def run(seconds: float) -> dict[str, Any]:
    figures: dict[str, Any] = {"clients": {}, "rates": {}, "lengths": {}}
    with ground.mock_upstream() as upstream, ground.sidecar(config(upstream)) as sidecar:

        def measure(what: str, name: str, work: Any) -> None:
            print(f"{what} {name} ...", file=sys.stderr, flush=True)
            cpu, began = sidecar.process.cpu_s(), time.monotonic()
            samples = uvloop.run(work)
            took = time.monotonic() - began
            figures[what][name] = told(samples, took, sidecar.process.cpu_s() - cpu)

        uvloop.run(closed(sidecar.url, 4, 2, 128))  # not counted
        for clients in CLIENTS:
            measure("clients", str(clients), closed(sidecar.url, clients, seconds, 128))
        for rate in RATES:
            measure("rates", str(rate), opened(sidecar.url, rate, seconds, 128))
        for length in LENGTHS:
            measure("lengths", str(length), closed(sidecar.url, 1, seconds, length))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="a measurement")
    args = parser.parse_args()
    figures = run(args.seconds)
    ground.record("load", figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
