"""What Prometheus is told of state that other parts hold, read when it scrapes.

Nothing here costs a request anything. Label values are names of the
configuration as it is now: what a reload took away is not told any more.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from sidecar import __version__
from sidecar.config.snapshot import UpstreamSpec
from sidecar.observe.metrics import Labels
from sidecar.runtime import Runtime
from sidecar.upstream.health import Replica

_STATUS: Final = Path("/proc/self/statm")
_FILES: Final = Path("/proc/self/fd")


def register(runtime: Runtime) -> None:
    """Make the gauges and counters that read ``runtime`` and the process."""
    made = runtime.telemetry.registry
    started = time.time()
    made.gauge(
        "router_build_info",
        "1, with the version that runs.",
        ("version",),
        alike=True,
        read=lambda: {(__version__,): 1.0},
    )
    made.gauge(
        "router_classifier_info",
        "1, with the backend that reads prompts and its encoder's version.",
        ("backend", "encoder"),
        alike=True,
        read=lambda: {(runtime.classifier.name, runtime.classifier.version): 1.0},
    )
    made.gauge(
        "router_classifier_deadline_seconds",
        "The configured deadline of a reading.",
        alike=True,
        read=lambda: runtime.snapshot.config.classifier.deadline_ms / 1e3,
    )
    made.gauge(
        "router_classifier_queue",
        "Prompts that wait to be read.",
        read=lambda: float(getattr(runtime.classifier, "queued", 0)),
    )
    made.counter(
        "router_classifier_shed",
        "Prompts refused when they came, for the encoder was behind.",
        read=lambda: float(getattr(runtime.classifier, "shed", 0)),
    )
    made.gauge(
        "router_breaker_open",
        "Workers that do not ask this address for now, for it kept failing.",
        ("upstream", "replica"),
        read=lambda: {
            (spec.name, spec.base_url): float(replica.rests_until > _now())
            for spec, replica in replicas(runtime)
        },
    )
    made.gauge(
        "router_upstream_in_flight",
        "Requests at this address of an upstream.",
        ("upstream", "replica"),
        read=lambda: {
            (spec.name, spec.base_url): float(replica.in_flight)
            for spec, replica in replicas(runtime)
        },
    )
    made.gauge("router_workers", "Worker processes.", read=lambda: 1.0)
    made.gauge(
        "router_start_time_seconds",
        "When the worker that started last did, in Unix time.",
        alike=True,
        read=lambda: started,
    )
    made.counter(
        "router_decision_log_dropped",
        "Lines of the decision log that could not be kept.",
        read=lambda: float(getattr(runtime.decisions, "dropped", 0)),
    )
    made.counter(
        "router_cpu_seconds",
        "CPU time of the worker processes, by mode.",
        ("mode",),
        read=_cpu_seconds,
    )
    made.gauge("router_resident_bytes", "Memory of the worker processes.", read=_resident_bytes)
    made.gauge("router_open_files", "Open files and sockets.", read=_open_files)
    made.gauge(
        "router_tasks",
        "Tasks of the event loops; one that is not in flight and stays is a leak.",
        read=lambda: float(len(asyncio.all_tasks())),
    )


def replicas(runtime: Runtime) -> Iterator[tuple[UpstreamSpec, Replica]]:
    """Every address of the configuration, once each, and what is known of it."""
    specs = {(spec.name, spec.base_url): spec for spec in runtime.snapshot.upstreams()}
    for spec in specs.values():
        yield spec, runtime.health.of(spec)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _cpu_seconds() -> Mapping[Labels, float]:
    spent = os.times()
    return {("user",): spent.user, ("system",): spent.system}


def _resident_bytes() -> float:
    """What Linux counts as resident; 0 on a system that does not say."""
    try:
        pages = int(_STATUS.read_text().split()[1])
    except OSError:
        return 0.0
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def _open_files() -> float:
    try:
        return float(sum(1 for _ in _FILES.iterdir()))
    except OSError:
        return 0.0
