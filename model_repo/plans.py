"""TensorRT plans: built on the GPU that runs them, kept under their key, refused if wrong.

``python -m model_repo.plans --repository FOLDER/gpu --cache FOLDER`` is what the server's
start script runs. A plan fits one GPU, one TensorRT and one set of weights; its key names
all three. One that is in the cache and fits is used again, any other is built from the
half-precision graph, which stays where it was. After the build the plan runs real prompts
on its GPU and must decide as the fp32 graph does on a CPU, or it is not served. What is
refused is said in a sentence, and the exit status is 1: the server does not start, and
sidecars go on by their CPU path. A cache that can't be written costs the next start its time
and this one nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from kernels.trt import Found, PlanError, find, plan
from model_repo.cuda import Gpu, Plan, gpus, lacking
from model_repo.generate import PLAN, profile
from model_repo.guard import guarded
from model_repo.parity import Runner, compare, graph
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import INPUT, pad, readings
from sidecar.encoder.served import MODEL, Served
from sidecar.encoder.tokens import Ids, Tokens
from sidecar.errors import EncoderError
from sidecar.features import features_of
from sidecar.types import Prompt, Reading

HALF: Final = "model.fp16.onnx"
FULL: Final = "model.fp32.onnx"
SAME: Final = 0.99  # of the decisions
WITHIN: Final = 0.02  # of a probability
GUARDED: Final = "of any value"  # what a plan's graph bears, see model_repo.guard
_PROMPTS: Final = Path(__file__).parents[1] / "sidecar" / "demo" / "prompts.jsonl"


@dataclass(frozen=True, slots=True)
class Key:
    """What a plan fits, and nothing else."""

    gpu: str
    compute: str
    tensorrt: str
    weights: str  # SHA-256 of the half-precision graph

    @property
    def folder(self) -> str:
        """Its name in a cache that several kinds of GPU may share."""
        words = f"{self.gpu} {self.compute} {self.tensorrt} {self.weights[:16]}"
        return re.sub(r"[^A-Za-z0-9.]+", "-", words)


@dataclass(frozen=True, slots=True)
class Site:
    """What plans are built with and for, here."""

    found: Found
    gpu: Gpu
    bundle: Bundle
    served: Served

    def key(self) -> Key:
        weights = hashlib.sha256(self.bundle.file(HALF)).hexdigest()
        return Key(self.gpu.name, self.gpu.compute, self.found.name, weights)

    def manifest(self, bucket: int, raw: bytes) -> dict[str, Any]:
        """What is written beside a plan, and compared before it is used again."""
        return {
            "key": asdict(self.key()),
            "model": self.served.name(bucket),
            "profile": profile(bucket),
            "parameters": dict(self.served.parameters),
            "ids": GUARDED,
            "plan": hashlib.sha256(raw).hexdigest(),
        }


def faults(manifest: Mapping[str, Any], raw: bytes, site: Site, bucket: int) -> list[str]:
    """Why a plan must not serve ``bucket`` here, one sentence each."""
    here = asdict(site.key())
    name = site.served.name(bucket)
    wrong = []
    if manifest.get("plan") != hashlib.sha256(raw).hexdigest():
        wrong.append(f"{name}: the plan is not the file its manifest describes: it is corrupt")
    words = {
        "gpu": "was built for the GPU {0}, this one is {1}",
        "compute": "was built for compute capability {0}, this GPU has {1}",
        "tensorrt": "was built by {0}, this machine has {1}",
        "weights": "was built from other weights ({0:.12}) than this encoder's ({1:.12})",
    }
    if manifest.get("ids") != GUARDED:
        wrong.append(f"{name}: the plan does not bear ids that no vocabulary has")
    built = _plain(manifest.get("key"))
    for part, said in words.items():
        if built.get(part) != here[part]:
            wrong.append(f"{name}: the plan {said.format(str(built.get(part)), here[part])}")
    given = _plain(manifest.get("parameters"))
    for part, value in site.served.parameters.items():
        if given.get(part) != value:
            wrong.append(f"{name}: the plan has {part} {given.get(part)}, the encoder has {value}")
    match _plain(manifest.get("profile")).get("max"):
        case [_, int(longest)] if longest >= bucket:
            pass
        case [_, longest]:
            wrong.append(f"{name} takes {bucket} ids, the profile of its plan ends at {longest}")
        case _:
            wrong.append(
                f"{name} takes {bucket} ids, its plan says of no profile how many it takes"
            )
    return wrong


def _plain(value: object) -> dict[str, Any]:
    """``value`` if it is a JSON object: a manifest may be any file at all."""
    return value if isinstance(value, dict) else {}


def rows_for(bucket: int, tokens: Tokens) -> list[Ids]:
    """Real prompts as rows of ids, each no longer than ``bucket``."""
    texts = []
    for line in _PROMPTS.read_bytes().splitlines():
        content = orjson.loads(line)["messages"][-1]["content"]
        texts.append(content if isinstance(content, str) else orjson.dumps(content).decode())
    texts += [" ".join(texts[i : i + 8]) for i in range(0, len(texts), 8)]  # some are long
    rows = tokens.encode([features_of(Prompt(user=text)).window for text in texts])
    return [row for row in rows if len(row) <= bucket]


def agree(bundle: Bundle, bucket: int, run: Runner) -> dict[str, float]:
    """Compare ``run`` with the fp32 graph. Raises PlanError where they do not decide alike."""
    rows = rows_for(bucket, Tokens(bundle.tokenizer))
    parity = compare(graph(bundle.file(FULL), bundle.version)(rows), run(rows), bundle)
    wrong = parity.faults(SAME, WITHIN)
    if wrong:
        raise PlanError(f"the plan is refused: {' and '.join(wrong)}")
    return parity.as_dict()


def on_gpu(site: Site, raw: bytes, bucket: int) -> Runner:
    """A plan as a runner, in batches."""

    def run(rows: Sequence[Ids]) -> list[Reading]:
        held, out = Plan(site.found, raw), []
        try:
            most = profile(bucket)["max"][0]
            for start in range(0, len(rows), most):
                answer = held.run(INPUT, pad(rows[start : start + most], bucket))
                out += readings(answer, site.served.version)
        finally:
            held.close()
        return out

    return run


def ensure(
    site: Site,
    bucket: int,
    cache: Path,
    *,
    say: Callable[[str], None] = print,
    judge: Callable[[Site, bytes, int], Runner] = on_gpu,
    compute: str | None = None,
) -> bytes:
    """The plan for ``bucket``: the cached one if it fits, else a new one, judged and kept.

    ``compute`` builds for another GPU than this machine's, where ``judge`` can run it.
    Raises PlanError where none can be had that agrees with the fp32 graph.
    """
    name = site.served.name(bucket)
    file = cache / site.key().folder / f"{name}.plan"
    beside = file.with_suffix(".json")
    raw = _read(file)
    if raw and beside.is_file():
        wrong = faults(_described(beside), raw, site, bucket)
        if not wrong:
            say(f"{name}: the plan in {file.parent} fits")
            return raw
        say("\n".join([*wrong, f"{name}: building it again"]))
    began = time.monotonic()
    whole = guarded(site.bundle.file(HALF), site.bundle.vocabulary)
    raw = plan(site.found, whole, INPUT, profile(bucket), compute)
    seconds = round(time.monotonic() - began, 1)
    parity = agree(site.bundle, bucket, judge(site, raw, bucket))
    said = site.manifest(bucket, raw) | {"build_s": seconds, "parity": parity}
    say(f"{name}: built for {site.gpu.name} in {seconds} s, agrees with fp32: {parity}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _replace(file, raw)
        _replace(beside, (json.dumps(said, indent=1) + "\n").encode())
    except OSError as error:  # it serves all the same
        say(f"{name}: the plan can't be kept, it will be built again at the next start: {error}")
    return raw


def _replace(file: Path, raw: bytes) -> None:
    """Write ``file`` as a whole: servers that share a cache read it while one writes."""
    own = file.with_name(f"{file.name}.{os.getpid()}.{socket.gethostname()}")
    try:
        own.write_bytes(raw)
        own.replace(file)
    finally:
        own.unlink(missing_ok=True)


def _read(file: Path) -> bytes:
    """What is in ``file``; nothing where it is not there or can't be read."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _described(file: Path) -> dict[str, Any]:
    try:
        return _plain(json.loads(_read(file)))
    except ValueError:
        return {}


def here(bundle: Bundle, model: str = MODEL) -> Site:
    """This machine. Raises PlanError without TensorRT, a GPU, or with several kinds of GPUs."""
    cards = gpus()
    if not cards:
        raise PlanError(
            f"there is no GPU here that CUDA can use ({lacking()}): "
            "plans are built on the GPU that runs them"
        )
    if kinds := sorted({each.name for each in cards if each != cards[0]}):
        raise PlanError(
            f"the GPUs here are of several kinds ({', '.join([cards[0].name, *kinds])}): a plan "
            "fits one, and Triton would load it on all. Show it those of one, as by "
            "CUDA_VISIBLE_DEVICES"
        )
    found = find()
    if found.module is None:
        raise PlanError(f"no TensorRT builds plans here: {'; '.join(found.reasons)}")
    return Site(found, cards[0], bundle, Served.of(bundle, model))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model_repo.plans", description=__doc__)
    parser.add_argument("--repository", type=Path, required=True, help="the generated gpu/")
    parser.add_argument("--cache", type=Path, required=True, help="where plans are kept")
    parser.add_argument("--bundle", type=Path, help="an encoder's folder; the packaged one")
    parser.add_argument("--model", default=MODEL)
    args = parser.parse_args(arguments)
    try:
        site = here(Bundle.load(args.bundle), args.model)
        for bucket in site.served.buckets:
            raw = ensure(site, bucket, args.cache)
            (args.repository / site.served.name(bucket) / "1" / PLAN).write_bytes(raw)
    except (PlanError, EncoderError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
