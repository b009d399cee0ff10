"""The admission webhook: how long a review takes, at the rate of a busy cluster.

Reviews are sent when they are due, over TLS on kept connections, as an API server
does; a latency counts from the moment a review was due. The webhook is held to one
core. Beside the latency stands the CPU time a review, which other work on the
machine does not touch.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.table import Table

from bench import ground
from sidecar.inject.certificates import Credentials, renewed

NAME = "pointsman-webhook.pointsman.svc"
CONNECTIONS = 4
START_LIMIT_S = 60.0


def pod(containers: int) -> dict[str, Any]:
    """A pod of a Deployment, with what real ones carry."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "app-7d9f8b6c5-",
            "labels": {"app": "app", "pod-template-hash": "7d9f8b6c5"},
            "annotations": {"example.com/checksum": "0" * 64},
        },
        "spec": {
            "containers": [
                {
                    "name": f"c{number}",
                    "image": "example/app:1",
                    "env": [{"name": f"V{each}", "value": "x" * 40} for each in range(20)],
                    "ports": [{"containerPort": 8000 + number}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
                for number in range(containers)
            ],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }


def review(number: int) -> bytes:
    request = {
        "uid": f"u-{number}",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "team",
        "operation": "CREATE",
        "object": pod(1 + number % 4),
    }
    return json.dumps(
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
    ).encode()


async def load(at: str, trust: ssl.SSLContext, rate: float, seconds: float) -> list[float]:
    """Latencies in milliseconds, of reviews sent at their time whatever the answers do."""
    bodies = [review(number) for number in range(16)]
    latencies: list[float] = []
    connector = aiohttp.TCPConnector(ssl=trust, limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one(number: int, due: float) -> None:
            async with session.post(
                f"https://{at}/inject",
                data=bodies[number % len(bodies)],
                headers={"Content-Type": "application/json"},
                server_hostname=NAME,
            ) as answer:
                said = await answer.json()
            latencies.append((time.perf_counter() - due) * 1e3)
            assert "patch" in said["response"], said

        await asyncio.gather(*(one(number, time.perf_counter()) for number in range(CONNECTIONS)))
        latencies.clear()
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(one(number, due))
    return latencies


def scheduling() -> str:
    """How this and the webhook were scheduled: on a busy machine they may have gone first."""
    real_time = os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR)
    return "real time" if real_time else f"nice {os.nice(0)}"


def credentials(folder: Path) -> Credentials:
    made = renewed(None, (NAME,), datetime.now(UTC))
    assert made is not None
    (folder / "tls.crt").write_bytes(made.certificate)
    (folder / "tls.key").write_bytes(made.key)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=50.0, help="reviews a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = credentials(folder)
        trust = ssl.create_default_context(cadata=made.authorities.decode())
        at, probes = (f"127.0.0.1:{ground.free_port()}" for _ in range(2))
        command = [sys.executable, "-m", "sidecar", "inject", "serve", "--tls-dir", name]
        command += ["--listen", at, "--probes", probes, "--linger-s", "0"]
        log = folder / "log"
        with ground.process(command, log) as webhook:
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(webhook.popen.pid, {min(os.sched_getaffinity(0))})
            deadline = time.perf_counter() + START_LIMIT_S
            while "serving on" not in log.read_text():
                if webhook.popen.poll() is not None or time.perf_counter() > deadline:
                    raise RuntimeError(f"the webhook did not start:\n{log.read_text()}")
                time.sleep(0.05)
            asyncio.run(load(at, trust, options.rate, 1.0))  # warm
            before = webhook.cpu_s()
            latencies = asyncio.run(load(at, trust, options.rate, options.seconds))
            cpu_ms = (webhook.cpu_s() - before) / len(latencies) * 1e3
            rss_mb = webhook.rss_mb()
    figures = {
        "reviews": len(latencies),
        "rate": options.rate,
        "review_ms": {
            f"p{int(q * 100)}": round(ground.quantile(latencies, q), 3) for q in (0.5, 0.9, 0.99)
        }
        | {"max": round(max(latencies), 3)},
        "cpu_ms_per_review": round(cpu_ms, 3),
        "rss_mb": round(rss_mb, 1),
        "scheduling": scheduling(),
    }
    ground.record("inject", figures)
    table = Table(title=f"{len(latencies)} reviews at {options.rate:g} a second, one core")
    for column in ("p50 ms", "p90 ms", "p99 ms", "max ms", "CPU ms a review", "RSS MB"):
        table.add_column(column, justify="right")
    times = [f"{value:.2f}" for value in figures["review_ms"].values()]
    table.add_row(*times, f"{cpu_ms:.2f}", f"{rss_mb:.0f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
