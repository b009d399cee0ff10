"""Classifiers side by side: how long one prompt takes, and how well it is judged.

Every judge runs in its own environment as a process that reads one prompt at a time;
the harness asks them in turn, so that all see the same moments of the machine. Quality
is on ``test`` rows of the routing data (``DATA_DIR``), where both models' answers are
known: AUC of "the weak model is right" and APGR (RouteLLM's average performance gap
recovered). A judge that learns from examples gets the easiest and the hardest
``train`` rows.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench import ground
from bench.decision import prompts
from bench.rivals.install import CannotRunError, programs, versions
from bench.rivals.manifest import Classifier, Install, Manifest
from sidecar.offline.metrics import auc, curve

SCRIPTS = Path(__file__).parent / "scripts"
OURS = Manifest(
    name="pointsman",
    what="this encoder in process, one thread",
    install=Install(),
    classifier=Classifier(script="pointsman_encoder.py"),
)
UTTERANCES = 60  # a route
ROWS = 600  # a pair
START_S = 300.0  # to load a model and learn the examples
ANSWER_S = 60.0  # for one prompt: who takes longer is out, and the others go on
# source, weak model, strong model: as the data names them
PAIRS = (
    ("mmlu", "mixtral-8x7b-instruct", "gpt-4-1106-preview"),
    ("mmlu_pro", "Mistral-7B-Instruct-v0.2", "Meta-Llama-3.1-70B-Instruct"),
    ("llmrouter", "mistral-7b-instruct-v0.3", "llama-3.1-nemotron-51b-instruct"),
)


class Judge:
    """One judge, as a process that is asked."""

    def __init__(self, manifest: Manifest, known: dict[str, list[str]], *, install: bool) -> None:
        assert manifest.classifier is not None
        binaries = programs(manifest, allowed=install)
        script = SCRIPTS / manifest.classifier.script
        env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        env |= {"PYTHONPATH": str(ground.ROOT)} if manifest is OURS else {}
        self.name = manifest.name
        self.versions = versions(manifest, binaries)
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            [str(binaries / "python"), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=env,
        )
        try:
            self._tell(known, START_S)
        except CannotRunError:
            self.close()
            raise

    def _tell(self, what: dict[str, Any], limit_s: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        watch = threading.Timer(limit_s, give_up)
        watch.start()
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
            while line := self._process.stdout.readline():
                with contextlib.suppress(ValueError):  # some print greetings of their own
                    return dict(json.loads(line))
        except OSError:
            pass
        finally:
            watch.cancel()
        if late.is_set():
            raise CannotRunError(f"no answer within {limit_s:g} s")
        self._log.seek(0)
        last = self._log.read().strip().splitlines()[-1:]
        raise CannotRunError(f"it ended before it answered: {' '.join(last)[:300]}")

    def ask(self, prompt: str, pair: tuple[str, str] | None = None) -> tuple[float, float, float]:
        """(milliseconds, how much the strong model is needed, how wrong the weak one would be)."""
        said = self._tell({"prompt": prompt, "pair": pair}, ANSWER_S)
        score = float(said["score"])
        return float(said["ms"]), score, float(said.get("wrong", score))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()


def judge(manifests: list[Manifest], count: int, *, install: bool) -> dict[str, Any]:
    """Latency and quality of every classifier that can run."""
    if not manifests:
        return {}
    rows = _rows()
    known = _examples(rows)
    judges: list[Judge] = []
    absent: dict[str, str] = {}
    try:
        for manifest in [OURS, *manifests]:
            try:
                judges.append(Judge(manifest, known, install=install))
            except CannotRunError as why:
                absent[manifest.name] = str(why)
                print(f"{manifest.name}: cannot run here: {why}", file=sys.stderr)
        found = {
            "latency_ms": _latency(judges, absent, count),
            "quality": {
                f"{source} {weak} -> {strong}": _quality(
                    judges, absent, rows, source=source, weak=weak, strong=strong
                )
                for source, weak, strong in PAIRS
            },
        }
        for part in (found["latency_ms"], *found["quality"].values()):
            for name in absent:  # half of what was asked is no measurement
                part.pop(name, None)
    finally:
        for each in judges:
            each.close()
    ran = {each.name: each.versions for each in judges if each.versions}
    return {
        "classifiers": found,
        "classifiers_that_cannot_run_here": absent,
        "classifier_versions": ran,
    }


@contextlib.contextmanager
def _or_out(each: Judge, judges: list[Judge], absent: dict[str, str]) -> Iterator[None]:
    """Ask ``each`` inside: a rival that does not answer is out, and the others go on."""
    try:
        yield
    except CannotRunError as why:
        if each.name == OURS.name:
            raise
        judges.remove(each)
        each.close()
        absent[each.name] = str(why)
        print(f"{each.name} is out: {why}", file=sys.stderr)


def _latency(judges: list[Judge], absent: dict[str, str], count: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {each.name: [] for each in judges}
    for text in prompts(count):
        for each in tuple(judges):
            with _or_out(each, judges, absent):
                times[each.name].append(each.ask(text)[0])
    ours = statistics.median(times[OURS.name])
    return {
        each.name: {
            "p50": round(statistics.median(times[each.name]), 3),
            "p99": round(ground.quantile(times[each.name], 0.99), 3),
            "times_ours_p50": round(statistics.median(times[each.name]) / ours, 2),
        }
        for each in judges
    }


def _quality(
    judges: list[Judge],
    absent: dict[str, str],
    rows: list[dict[str, Any]],
    *,
    source: str,
    weak: str,
    strong: str,
) -> dict[str, Any]:
    both = [r for r in rows if r["source"] == source and r["split"] == "test"]
    both = [r for r in both if weak in r["scores"] and strong in r["scores"]]
    both = random.Random(1).sample(both, min(ROWS, len(both)))
    if not both:
        return {"rows": 0}
    low = np.array([r["scores"][weak] for r in both])
    high = np.array([r["scores"][strong] for r in both])
    out: dict[str, Any] = {"rows": len(both), "weak": round(float(low.mean()), 3)}
    out["strong"] = round(float(high.mean()), 3)
    for each in tuple(judges):
        with _or_out(each, judges, absent):
            said = np.array([each.ask(r["prompt"], (weak, strong))[1:] for r in both])
            area = auc(low >= 0.5, -said[:, 1])
            apgr = curve(low, high, said[:, 0]).apgr
            out[each.name] = {
                "auc": None if area is None else round(area, 3),
                "apgr": None if apgr is None else round(apgr, 3),
            }
    return out


def _rows() -> list[dict[str, Any]]:
    folder = Path(os.environ.get("DATA_DIR", ground.ROOT.parent / "shared" / "data"))
    file = folder / "routing.jsonl.gz"
    if not file.exists():
        raise SystemExit(f"no routing.jsonl.gz in {folder}: set DATA_DIR")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _examples(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The easiest and the hardest training rows by their pass rate, an equal number a source."""
    rng = random.Random(1)
    sources = sorted({source for source, _, _ in PAIRS})
    out: dict[str, list[str]] = {"easy": [], "hard": []}
    for source in sources:
        train = [r for r in rows if r["source"] == source and r["split"] == "train"]
        train = [r for r in train if r.get("pass_rate") is not None and r["n_models"] >= 5]
        rng.shuffle(train)
        train.sort(key=lambda r: r["pass_rate"])
        each = UTTERANCES // len(sources)
        out["hard"] += [r["prompt"] for r in train[:each]]
        out["easy"] += [r["prompt"] for r in train[-each:]]
    return out
