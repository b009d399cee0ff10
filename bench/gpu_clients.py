"""Clients of a Triton server, as many sidecars are: each asks, waits, and asks again.

A client's turn is what the request path awaits: window to ids, one call of the sidecar's
own pool, the answer as a reading. Clients are spread over processes, each with one channel,
so that it is the server that is measured and not one interpreter; they begin together, for
who begins early is served by a server that has less to do. Knows no GPU: tests run it against
the CPU repository.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final

import orjson

from bench.ground import quantile
from sidecar.classify.triton_pool import Pool
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.served import Served
from sidecar.encoder.tokens import Tokens
from sidecar.errors import ClassifierError
from sidecar.features import features_of
from sidecar.types import Prompt

PROMPTS: Final = Path(__file__).parents[1] / "sidecar" / "demo" / "prompts.jsonl"
PER_PROCESS: Final = 32
WARM_UP_S: Final = 1.0
GATHER_S: Final = 120.0  # for every process to have its imports and its encoder
_gate: list[Barrier] = []  # in a process of the load: where it waits for the others


@dataclass(frozen=True, slots=True)
class Load:
    """One process's part: ``clients`` that ask for ``seconds`` after a warm-up."""

    url: str
    clients: int
    seconds: float
    first: int  # which prompt each begins with


def windows() -> list[str]:
    """The demo's prompts as the encoder sees them."""
    found = []
    for line in PROMPTS.read_bytes().splitlines():
        content = orjson.loads(line)["messages"][-1]["content"]
        if isinstance(content, str):
            found.append(features_of(Prompt(user=content)).window)
    return found


@dataclass(frozen=True, slots=True)
class Done:
    """What a process's clients saw."""

    took_ms: list[float]
    failed: int
    began: float  # time.monotonic(), which all processes of a machine share


def work(load: Load) -> Done:
    """Runs in a process of its own."""
    return asyncio.run(_ask(load))


async def _ask(load: Load) -> Done:
    bundle = Bundle.load()
    pool = Pool(load.url, Served.of(bundle), in_flight=load.clients)
    tokens, texts = Tokens(bundle.tokenizer), windows()
    took: list[float] = []
    failed = 0
    for barrier in _gate:
        await asyncio.to_thread(barrier.wait, GATHER_S)
    started = time.monotonic()
    counted = time.perf_counter() + WARM_UP_S
    end = counted + load.seconds

    async def client(number: int) -> None:
        nonlocal failed
        turn = load.first + number
        while (began := time.perf_counter()) < end:
            (ids,) = tokens.encode([texts[turn % len(texts)]])
            try:
                await pool.send(ids)
            except ClassifierError:
                failed += 1
                await asyncio.sleep(0.01)
                continue
            if began >= counted:
                took.append((time.perf_counter() - began) * 1e3)
            turn += 1

    try:
        await asyncio.gather(*(client(n) for n in range(load.clients)))
    finally:
        await pool.close()
    return Done(took, failed, started)


def sweep(url: str, clients: int, seconds: float) -> dict[str, Any]:
    """Latency and rate at so many clients, and the mean batch that the server made."""
    before = asyncio.run(_counts(url))
    wanted = -(-clients // PER_PROCESS)
    processes = min(wanted, os.cpu_count() or 1)
    share, more = divmod(clients, processes)
    parts, first = [], 0
    for number in range(processes):
        own = share + (number < more)
        parts.append(Load(url, own, seconds, first))
        first += own
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(processes)
    with ProcessPoolExecutor(
        processes, mp_context=spawn, initializer=_gate.append, initargs=(barrier,)
    ) as pool:
        done = list(pool.map(work, parts))
    took = [ms for each in done for ms in each.took_ms]
    began = [each.began for each in done]
    after = asyncio.run(_counts(url))
    inferences, executions = (b - a for a, b in zip(before, after, strict=True))
    return {
        "p50_ms": round(quantile(took, 0.5), 3),
        "p90_ms": round(quantile(took, 0.9), 3),
        "p99_ms": round(quantile(took, 0.99), 3),
        "per_s": round(len(took) / seconds, 1),
        "failed": sum(each.failed for each in done),
        "mean_batch": round(inferences / max(1, executions), 2),
        "processes": processes,
        "apart_s": round(max(began) - min(began), 3),
    }


async def _counts(url: str) -> tuple[int, int]:
    """Inferences and executions of every bucket so far, by the server's own statistics."""
    from tritonclient.grpc.aio import InferenceServerClient  # noqa: PLC0415 - the extra `gpu`

    served = Served.of(Bundle.load())
    async with InferenceServerClient(url) as client:
        stats = [
            (await client.get_inference_statistics(served.name(bucket))).model_stats[0]
            for bucket in served.buckets
        ]
    return sum(s.inference_count for s in stats), sum(s.execution_count for s in stats)
