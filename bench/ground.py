"""The ground every benchmark stands on: processes, a machine sheet, one results file.

A benchmark starts the real sidecar and a mock upstream as processes of their
own, on 127.0.0.1, and ends what it started. Each run appends one JSON object to
``bench/results.jsonl``, which keeps history: what was run, when, on what, and the
figures. Nothing there is ever edited.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results.jsonl"
COMPILED = ROOT / ".work" / "compiled"  # by `make compiled`
START_LIMIT_S = 30.0
_BEGAN = time.monotonic()
_LOAD_BEFORE = round(os.getloadavg()[0], 2)  # of the minute before this process: was it quiet?


@dataclass(frozen=True)
class Process:
    """A process of ours, and what the kernel says of it."""

    popen: subprocess.Popen[str]

    def cpu_s(self) -> float:
        """User and system CPU seconds so far, threads included."""
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Resident memory now."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    def files(self) -> int:
        """Open file descriptors now."""
        return sum(1 for _ in Path(f"/proc/{self.popen.pid}/fd").iterdir())

    def threads(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.popen.pid}/task").iterdir())


@dataclass(frozen=True)
class Sidecar:
    """A running sidecar."""

    process: Process
    url: str
    admin: str
    ready_s: float  # from exec to the first 200 of /readyz


@contextmanager
def process(command: Sequence[str], log: Path, cwd: Path = ROOT) -> Iterator[Process]:
    """Run ``command`` with its error stream in ``log``; SIGTERM at the end, then SIGKILL."""
    with log.open("w") as errors:
        popen = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        yield Process(popen)
    finally:
        popen.terminate()
        try:
            popen.wait(10)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()
        if popen.stdout:
            popen.stdout.close()


@contextmanager
def mock_upstream(*arguments: str) -> Iterator[str]:
    """The demo's mock upstream, answering at once; yields its base URL."""
    command = [sys.executable, "-m", "sidecar.demo.mock", "--port", "0", "--speed", "0", *arguments]
    with _started_mock(command) as url:
        yield url


@contextmanager
def drilled_upstream(
    failing: float = 0.0, speed: float = 4.0, period_s: float = 0.0
) -> Iterator[str]:
    """``bench.drill``'s mock: paced, and failing in a share of its answers."""
    command = [sys.executable, "-m", "bench.drill", "mock", "--failing", str(failing)]
    command += ["--speed", str(speed), "--period", str(period_s)]
    with _started_mock(command) as url:
        yield url


@contextmanager
def _started_mock(command: Sequence[str]) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, process(command, Path(folder, "log")) as mock:
        assert mock.popen.stdout is not None
        yield str(json.loads(mock.popen.stdout.readline())["url"])


@contextmanager
def sidecar(
    config: dict[str, Any], fault: str | None = None, workers: int = 1, home: Path = ROOT
) -> Iterator[Sidecar]:
    """A real ``sidecar serve`` over ``config``, ready; with ``fault``, ``bench.drill``'s.

    ``home`` is the folder whose package it runs: this checkout, or :data:`COMPILED`.
    """
    with tempfile.TemporaryDirectory() as folder:
        listen, admin = free_port(), free_port()
        file = Path(folder, "sidecar.yaml")
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        program = ["sidecar", "serve"]
        if fault:
            program = ["bench.drill", "sidecar", "--fault", fault]
        command = [sys.executable, "-m", *program, "--config", str(file)]
        command += ["--listen", f"127.0.0.1:{listen}", "--admin", f"127.0.0.1:{admin}"]
        command += ["--workers", str(workers)] if workers > 1 else []
        log = Path(folder, "log")
        began = time.perf_counter()
        with process(command, log, home) as running:
            while not _ready(f"http://127.0.0.1:{admin}/readyz"):
                if running.popen.poll() is not None or time.perf_counter() - began > START_LIMIT_S:
                    raise RuntimeError(f"the sidecar did not start:\n{log.read_text()}")
                time.sleep(0.01)
            yield Sidecar(
                process=running,
                url=f"http://127.0.0.1:{listen}/v1",
                admin=f"http://127.0.0.1:{admin}",
                ready_s=time.perf_counter() - began,
            )


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def machine() -> dict[str, Any]:
    """The sheet of the machine: what a reader needs to judge the figures."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_before": _LOAD_BEFORE,
        "load": round(os.getloadavg()[0], 2),  # at the end, the benchmark's own in it
        **_priority(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _priority() -> dict[str, str]:
    """How the scheduler favours this run over others; nothing where it does not."""
    if os.sched_getscheduler(0) in {os.SCHED_FIFO, os.SCHED_RR}:
        return {"priority": f"real-time {os.sched_getparam(0).sched_priority}"}
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    return {"priority": f"nice {nice}"} if nice else {}


def record(bench: str, figures: dict[str, Any]) -> None:
    """Append one run to the results file."""
    row = {
        "bench": bench,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": machine(),
        "command": shlex.join(["python", "-m", f"bench.{bench}", *sys.argv[1:]]),
        "seconds": round(time.monotonic() - _BEGAN, 1),
        "figures": figures,
    }
    with RESULTS.open("a") as results:
        results.write(json.dumps(row) + "\n")
    print(f"appended to {RESULTS.relative_to(ROOT)}; what quotes it:", file=sys.stderr)
    print("    python -m bench.readme", file=sys.stderr)


def _commit() -> str:
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:  # an image has no git
        return ""
    return asked.stdout.strip()


def quantile(values: Sequence[float], q: float) -> float:
    """The ``q`` quantile (0..1) by the nearest rank, which is a value that occurred."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]
