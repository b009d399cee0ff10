"""Proxies side by side: CPU a request, memory, start-up, what a stream costs.

The proxy is pinned to one core, load and mock to the other; rounds are interleaved
and the first is not counted. One that fails on the way, or that answers otherwise
than whole, is out of the race and recorded with the reason: less work is no merit.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import ground, proxy
from bench.rivals.install import CannotRunError, programs, versions
from bench.rivals.manifest import Manifest, Proxy

_STREAMS = 10  # one stream for so many requests
_LONGEST_S = 600  # of one case


@dataclass(frozen=True)
class Runner:
    """A proxy that answers."""

    name: str
    pid: int
    port: int
    how: Proxy
    headers: dict[str, str]  # that its callers send
    start_s: float
    versions: dict[str, str]  # of what it is made of

    def cpu_s(self) -> float:
        return sum(proxy._cpu_ns(pid) for pid in proxy._family(self.pid)) / 1e9


def start(
    manifest: Manifest, mock: int, folder: Path, stack: contextlib.ExitStack, *, install: bool
) -> Runner:
    """Start one rival and wait for its first good answer."""
    binaries = programs(manifest, allowed=install)
    how = manifest.proxy
    assert how is not None
    port = ground.free_port()
    own = folder / manifest.name
    own.mkdir()
    fill = {
        "{port}": str(port),
        "{mock}": str(mock),
        "{bin}": str(binaries),
        "{folder}": str(own),
        "{root}": str(ground.ROOT),
        "{python}": sys.executable,
    }
    for name, text in how.files.items():
        (own / name).write_text(_filled(text, fill))
    command = [_filled(word, fill) for word in how.command]
    env = {**os.environ, **{k: _filled(v, fill) for k, v in how.env.items()}}
    headers = {k: _filled(v, fill) for k, v in how.headers.items()}
    began = time.monotonic()
    child = stack.enter_context(_process(command, env, own))
    while not _answers(port, how.model, headers):
        if time.monotonic() - began > how.start_s or child.poll() is not None:
            said = (own / "log").read_text(errors="replace").strip().splitlines()[-3:]
            raise CannotRunError(f"it never answered: {' / '.join(said)[:400]}")
        time.sleep(0.05)
    took = time.monotonic() - began
    for member in proxy._family(child.pid):
        for task in Path(f"/proc/{member}/task").iterdir():
            with contextlib.suppress(OSError):
                os.sched_setaffinity(int(task.name), proxy.PROXY_CORE)
    said = versions(manifest, binaries)
    return Runner(manifest.name, child.pid, port, how, headers, took, said)


def _filled(text: str, fill: dict[str, str]) -> str:
    for mark, value in fill.items():
        text = text.replace(mark, value)
    return text


@contextlib.contextmanager
def _process(
    command: list[str], env: dict[str, str], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("wb") as log:
        try:
            child = subprocess.Popen(
                command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True
            )
        except OSError as exc:
            raise CannotRunError(f"it could not be started: {exc}") from None
    try:
        yield child
    finally:  # some start children of their own: the session is theirs, and ours to end
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _answers(port: int, model: str, headers: dict[str, str]) -> bool:
    body = {"model": model, "messages": [{"role": "user", "content": "ready?"}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer app", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def race(
    manifests: list[Manifest], requests: int, rounds: int, clients: int, *, install: bool
) -> dict[str, Any]:
    """Every proxy that can run, round by round; those that cannot, with the reason."""
    rows: dict[str, dict[str, list[dict[str, float]]]] = {}
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        command = [sys.executable, "-m", "bench.raw", "mock"]
        mock = stack.enter_context(proxy._running(command, folder, proxy.LOAD_CORE))
        assert mock.popen.stdout is not None
        port = int(json.loads(mock.popen.stdout.readline())["port"])
        runners = []
        for manifest in manifests:
            print(f"starting {manifest.name} ...", file=sys.stderr, flush=True)
            try:
                runners.append(start(manifest, port, folder, stack, install=install))
            except CannotRunError as why:
                absent[manifest.name] = str(why)
                print(f"{manifest.name}: cannot run here: {why}", file=sys.stderr)
        for number in range(rounds + 1):
            where = f"round {number} of {rounds}" if number else "warm-up"
            for runner in tuple(runners):
                try:
                    for case in runner.how.cases:
                        print(f"{where}: {runner.name}, {case}", file=sys.stderr, flush=True)
                        row = _measure(runner, case, requests, clients)
                        if number:
                            rows.setdefault(runner.name, {}).setdefault(case, []).append(row)
                except CannotRunError as why:
                    runners.remove(runner)
                    rows.pop(runner.name, None)
                    absent[runner.name] = f"{where}: {why}"
                    print(f"{runner.name} is out: {why}", file=sys.stderr)
        starts = {runner.name: runner.start_s for runner in runners}
        ran = {runner.name: runner.versions for runner in runners if runner.versions}
    return {"proxies": _table(rows, starts), "cannot_run_here": absent, "versions": ran}


def _measure(runner: Runner, case: str, requests: int, clients: int) -> dict[str, float]:
    count = max(clients, int(requests * runner.how.share / (_STREAMS if case == "stream" else 1)))
    further = ["--stream"] if case == "stream" else []
    for name, value in runner.headers.items():
        further += ["--header", f"{name}: {value}"]
    before = runner.cpu_s()
    try:
        done = proxy.loaded(
            runner.port, count, clients, runner.how.model, *further, timeout_s=_LONGEST_S
        )
    except subprocess.TimeoutExpired:
        raise CannotRunError(f"{case}: no end within {_LONGEST_S} s") from None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["the load failed"]
        raise CannotRunError(f"{case}: {last[0][:300]}")
    found = dict(json.loads(done.stdout))
    if found["errors"]:
        raise CannotRunError(f"{case}: {found['errors']} of {count} answers were not whole")
    cpu = (runner.cpu_s() - before) / count * 1e6
    return {**found, "cpu_us": cpu, "rss_mb": _rss_mb(runner.pid)}


def _rss_mb(pid: int) -> float:
    pages = 0
    for member in proxy._family(pid):
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{member}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _table(
    rows: dict[str, dict[str, list[dict[str, float]]]], starts: dict[str, float]
) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, cases in rows.items():
        table[name] = {"start_s": round(starts[name], 2)}
        for case, runs in cases.items():
            cpu = sorted(run["cpu_us"] for run in runs)
            table[name][case] = {
                "cpu_us": round(statistics.median(cpu), 1),
                "cpu_us_spread": [round(cpu[0], 1), round(cpu[-1], 1)],
                "per_s": round(statistics.median(run["per_s"] for run in runs), 1),
                "first_p50_ms": round(statistics.median(r["first_p50_ms"] for r in runs), 3),
                "p50_ms": round(statistics.median(run["p50_ms"] for run in runs), 3),
                "errors": int(sum(run["errors"] for run in runs)),
                "requests": int(sum(run["requests"] for run in runs)),
            }
            table[name]["rss_mb"] = round(statistics.median(run["rss_mb"] for run in runs), 1)
    ours = table.get("pointsman")
    if ours:
        for row in table.values():
            for case in ("request", "stream"):
                if case in row and case in ours:
                    row[case]["times_ours"] = round(row[case]["cpu_us"] / ours[case]["cpu_us"], 2)
    return table
