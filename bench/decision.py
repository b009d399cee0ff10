"""How long a decision takes, as the sidecar's own headers and a caller see it.

One client, prompts of up to 128 tokens, each sent through a real sidecar to a
mock upstream that answers at once; the load generator shares the machine. Three
rounds, with the same requests sent straight to the upstream in between, so that
what the sidecar adds is a difference within one run. Also the time to the first
200 of ``/readyz`` and the resident memory at the end.

    python -m bench.decision [--requests N] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import urllib.parse
from http.client import HTTPConnection
from typing import Any

from bench import ground
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.tokens import Tokens
from sidecar.features import features_of
from sidecar.types import Prompt

MAX_TOKENS = 128
OPENINGS = (
    "Summarise this note for the team: ",
    "Why does this query return nothing? ",
    "Translate into German: ",
    "Prove or refute: ",
    "Write a polite reply to: ",
    "What is the time complexity of this? ",
    "Extract the dates from: ",
    "Is this clause enforceable? ",
)
SENTENCES = (
    "The invoice of March was paid twice and the customer asks for the difference.",
    "Every bounded monotone sequence of real numbers converges to its supremum.",
    "SELECT name FROM users WHERE created_at > now() - interval '1 day' AND NOT deleted;",
    "The meeting moved to Thursday at 15:30 because the auditors arrive on Wednesday.",
    "def merge(a, b): return sorted(a + b, key=lambda pair: (pair[0], -pair[1]))",
    "The tenant shall give notice of ninety days, unless the premises are unfit for use.",
    "Patients with a history of migraine were excluded from the second arm of the trial.",
)


def prompts(count: int) -> list[str]:
    """Distinct prompts of 10 to 128 tokens as the encoder counts them."""
    tokens = Tokens(Bundle.load().tokenizer)
    made: list[str] = []
    number = 0
    while len(made) < count:
        text = f"{OPENINGS[number % len(OPENINGS)]}(case {number}) "
        text += " ".join(SENTENCES[(number + i) % len(SENTENCES)] for i in range(number % 7 + 1))
        if len(tokens.encode([features_of(Prompt(user=text)).window])[0]) <= MAX_TOKENS:
            made.append(text)
        number += 1
    return made


def send(connection: HTTPConnection, path: str, model: str, text: str) -> tuple[float, Any]:
    """One request; its milliseconds as the caller sees them, and the answer's headers."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}]})
    began = time.perf_counter()
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    took = (time.perf_counter() - began) * 1e3
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}")
    return took, answer.headers


def connect(url: str) -> tuple[HTTPConnection, str]:
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname
    return HTTPConnection(parts.hostname, parts.port), f"{parts.path}/chat/completions"


def config(upstream: str) -> dict[str, Any]:
    return {
        # the prompts are few sentences in many orders: every one is to be read
        "decision_cache": {"entries": 0},
        "sessions": {"entries": 0},
        "upstreams": {"mock": {"base_url": upstream}},
        "models": {
            "small": {
                "upstream": "mock",
                "upstream_model": "llama-3.1-8b-instruct",
                "ability": "llama-3.1-8b-instruct",
                "price": {"input": 0.07, "output": 0.07},
                "context": 128000,  # long prompts are to be read too
            },
            "large": {
                "upstream": "mock",
                "upstream_model": "gpt-4o-2024-08-06",
                "ability": "gpt-4o-2024-08-06",
                "price": {"input": 2.5, "output": 10},
                "context": 128000,
            },
        },
        "routes": {"auto": {"models": ["small", "large"], "default": "large"}},
    }


def run(requests: int, rounds: int) -> dict[str, Any]:
    texts = prompts(requests)
    decision: list[float] = []
    stages: dict[str, list[float]] = {}
    reasons: dict[str, int] = {}
    direct_ms: list[float] = []
    routed_ms: list[float] = []
    with ground.mock_upstream() as upstream, ground.sidecar(config(upstream)) as sidecar:
        routed, routed_path = connect(sidecar.url)
        direct, direct_path = connect(upstream)
        for text in texts[:50]:  # not counted: connections, caches, clock speeds
            send(routed, routed_path, "auto", text)
            send(direct, direct_path, "gpt-4o-2024-08-06", text)
        cpu = 0.0
        for _ in range(rounds):
            before = sidecar.process.cpu_s()
            for text in texts:
                took, headers = send(routed, routed_path, "auto", text)
                routed_ms.append(took)
                decision.append(float(headers["x-router-decision-ms"]))
                reason = headers["x-router-reason"]
                reasons[reason] = reasons.get(reason, 0) + 1
                for part in headers["Server-Timing"].split(", "):
                    stage, _, duration = part.partition(";dur=")
                    stages.setdefault(stage, []).append(float(duration))
            cpu += sidecar.process.cpu_s() - before
            direct_ms += [send(direct, direct_path, "gpt-4o-2024-08-06", text)[0] for text in texts]
        rss = sidecar.process.rss_mb()
        ready = sidecar.ready_s
    return {
        "requests": len(decision),
        "decision_ms": spread(decision),
        "stages_ms": {stage: spread(values) for stage, values in stages.items()},
        "reasons": reasons,
        "added_ms": {
            "p50": round(statistics.median(routed_ms) - statistics.median(direct_ms), 3),
            "p99": round(ground.quantile(routed_ms, 0.99) - ground.quantile(direct_ms, 0.99), 3),
        },
        "cpu_us_per_request": round(cpu / len(decision) * 1e6),
        "ready_s": round(ready, 2),
        "rss_mb": round(rss, 1),
    }


def spread(values: list[float]) -> dict[str, float]:
    return {
        "p50": round(statistics.median(values), 3),
        "p90": round(ground.quantile(values, 0.90), 3),
        "p99": round(ground.quantile(values, 0.99), 3),
        "max": round(max(values), 3),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--requests", type=int, default=500, help="a round")
    arguments.add_argument("--rounds", type=int, default=3)
    args = arguments.parse_args()
    figures = run(args.requests, args.rounds)
    ground.record("decision", figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
