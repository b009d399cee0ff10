"""What remembering costs, and how soon the kill switch holds.

Lookups, one at a time over full memories: the decision cache with 100,000 readings of the
packaged encoder (a text that is there, one that is not) and the response cache with
10,000 answers. The time is that of the calling thread's CPU, in batches of 100, so that
what else the machine does counts little.

Then the kill switch, on a real sidecar with workers and a mock upstream: clients keep
asking while it is turned on, and of the requests that began after its answer had come,
those that it did not pin are counted, with how long after.

    python -m bench.memory [--entries N] [--rounds N] [--workers N]
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench import ground
from bench.decision import config, connect, prompts, send
from sidecar import headers
from sidecar.config import schema
from sidecar.dialects import DIALECTS
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import OnnxEncoder
from sidecar.features import features_of
from sidecar.listen.downstream import Copy
from sidecar.parse import Received, parse
from sidecar.state.decision_cache import DecisionCache
from sidecar.state.lru import Lru
from sidecar.state.response_cache import key_of
from sidecar.types import Call, Prompt
from tests.support.builders import model, snapshot

BATCH = 100


def spent(work: Callable[[int], object], count: int) -> dict[str, float]:
    """Microseconds of CPU a call: of the median and of the slowest hundredth of the batches."""
    found = []
    for start in range(0, count, BATCH):
        began = time.thread_time_ns()
        for i in range(start, start + BATCH):
            work(i)
        found.append((time.thread_time_ns() - began) / BATCH / 1e3)
    return {
        "p50_us": round(ground.quantile(found, 0.5), 2),
        "p99_us": round(ground.quantile(found, 0.99), 2),
    }


def decision_cache(entries: int) -> dict[str, Any]:
    encoder = OnnxEncoder(Bundle.load())
    texts = prompts(200)
    readings = encoder.read([features_of(Prompt(user=text)).window for text in texts])
    windows = [features_of(Prompt(user=f"{texts[i % 200]} {i:x}")).window for i in range(entries)]
    cache = DecisionCache(entries, 3600.0)
    for i, window in enumerate(windows):
        cache.keep(window, readings[i % 200])
    stride = max(1, entries // 20_000)
    count = entries // stride // BATCH * BATCH
    assert cache.look(windows[0], encoder.version) is not None
    return {
        "entries": len(cache),
        "hit": spent(lambda i: cache.look(windows[i * stride], encoder.version), count),
        "miss": spent(lambda i: cache.look(windows[i * stride] + "?", encoder.version), count),
    }


def asked(text: str) -> Call:
    body = json.dumps(
        {"model": "auto", "temperature": 0, "messages": [{"role": "user", "content": text}]}
    )
    head = headers.read([(b"Content-Type", b"application/json"), (b"Authorization", b"Bearer k")])
    return parse(Received("bench", DIALECTS["chat"], head, body.encode()))


def response_cache(entries: int) -> dict[str, Any]:
    """The digest of a request and the look-up by it, together."""
    over = snapshot([model("large")])
    settings = schema.ResponseCache(max_mb=1000)
    route = replace(over.routes["auto"], response_cache=settings)
    kept: Lru[bytes, bytes] = Lru(entries, 3600.0)
    calls = [asked(text) for text in prompts(1000)]
    for i in range(entries):
        call = replace(calls[i % 1000], query=str(i))
        copy = Copy(1 << 20)
        copy.add(call.body)
        kept.put(key_of(call, route, settings, over.digest), bytes(copy.data or b""))
    hits = [replace(calls[i % 1000], query=str(i)) for i in range(min(entries, 10_000))]

    def look(i: int) -> None:
        assert kept.get(key_of(hits[i], route, settings, over.digest)) is not None

    return {"entries": len(kept), "hit": spent(look, len(hits) // BATCH * BATCH)}


class Asker(threading.Thread):
    """One client that keeps asking, and when each request began and who answered it."""

    def __init__(self, url: str, going: threading.Event) -> None:
        super().__init__(daemon=True)
        self._url, self._going = url, going
        self.seen: list[tuple[float, str]] = []

    def run(self) -> None:
        connection, path = connect(self._url)
        number = 0
        while self._going.is_set():
            number += 1
            began = time.monotonic()
            _, said = send(connection, path, "auto", f"Is this on? {id(self)} {number}")
            self.seen.append((began, said["x-router-reason"]))
            if number % 20 == 0:  # another connection, and so another worker
                connection.close()
                connection, path = connect(self._url)


def turn(
    admin: http.client.HTTPConnection, method: str, model: str | None = None
) -> tuple[float, float]:
    """Turn the switch; milliseconds of the call, and when its answer had come."""
    body = None if model is None else json.dumps({"model": model}).encode()
    began = time.monotonic()
    admin.request(method, "/admin/kill-switch", body)
    admin.getresponse().read()
    done = time.monotonic()
    return (done - began) * 1e3, done


def kill_switch(rounds: int, workers: int) -> dict[str, Any]:
    calls: list[float] = []
    late: list[float] = []
    counted = 0
    # The askers are threads of this process: at the usual 5 ms a turn, whoever holds the
    # interpreter would be timed and not the switch.
    sys.setswitchinterval(2e-4)
    with (
        ground.mock_upstream() as upstream,
        ground.sidecar(config(upstream), workers=workers) as sidecar,
    ):
        admin, _ = connect(sidecar.admin)
        for _ in range(rounds):
            going = threading.Event()
            going.set()
            askers = [Asker(sidecar.url, going) for _ in range(4)]
            for asker in askers:
                asker.start()
            time.sleep(0.5)
            took, done = turn(admin, "POST", "large")
            calls.append(took)
            time.sleep(0.5)
            going.clear()
            for asker in askers:
                asker.join(10)
            after = [(at - done, why) for a in askers for at, why in a.seen if at > done]
            counted += len(after)
            late += [at * 1e3 for at, why in after if why != "kill-switch"]
            turn(admin, "DELETE")
    return {
        "workers": workers,
        "turned": rounds,
        "requests_after": counted,
        "not_pinned": len(late),
        "latest_not_pinned_ms": round(max(late), 3) if late else 0.0,
        "call_ms": {"p50": round(ground.quantile(calls, 0.5), 2), "max": round(max(calls), 2)},
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--entries", type=int, default=100_000, help="of the decision cache")
    arguments.add_argument("--rounds", type=int, default=10, help="of the kill switch")
    arguments.add_argument("--workers", type=int, default=2)
    args = arguments.parse_args()
    figures = {
        "decision_cache": decision_cache(args.entries),
        "response_cache": response_cache(10_000),
        "kill_switch": kill_switch(args.rounds, args.workers),
    }
    ground.record("memory", figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
