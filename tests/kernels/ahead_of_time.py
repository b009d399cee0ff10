"""Runs in a process of its own, without the interpreter: compiles, and prints what it found.

``python -m tests.kernels.ahead_of_time table`` answers the table of kernels.compile, at
the sizes of the committed table and, where they differ, of the shipped encoder;
``plugins`` registers the quick plugins with TensorRT's own module and makes a build's calls.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from triton.backends import nvidia

from kernels.compile import TARGETS, Sizes, table
from kernels.plugin import NAMESPACE, PLUGINS, register
from sidecar.encoder.bundle import Bundle
from tests.kernels.quick_plugin import Driven, Given, load

TOKENS, SEQUENCES, MODELS = 1000, 7, 85


def assembles(ptx: str, target: int) -> bool:
    """Whether the assembler in Triton's package takes the text for a target."""
    tool = Path(nvidia.__file__).parent / "bin" / "ptxas"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        arch = f"sm_{target}a" if target == 90 else f"sm_{target}"
        made = subprocess.run(
            [tool, f"--gpu-name={arch}", source, "-o", source.with_suffix(".cubin")],
            capture_output=True,
            text=True,
            check=False,
        )
    return made.returncode == 0


def inputs(name: str, sizes: Sizes, kind: Any, trt: ModuleType) -> list[Given]:
    count = sizes.demand + sum(sizes.labels) + 2
    bounds = Given((SEQUENCES + 1,), trt.int32)
    if name == "embed_norm":
        tables = [(17309, sizes.embed), (256, sizes.embed), (sizes.embed,), (sizes.embed,)]
        return [Given((TOKENS,), trt.int32), bounds, *(Given(t, kind) for t in tables)]
    if name == "varlen_attention":
        depth = sizes.width // sizes.heads
        return [Given((TOKENS, 3, sizes.heads, depth), kind), bounds]
    own = [
        (sizes.queries, sizes.width),
        (sizes.width, sizes.queries * sizes.width),
        (sizes.width,),
        (count, sizes.width),
        (count,),
    ]
    abilities = [Given((MODELS, sizes.demand), trt.float32), Given((MODELS,), trt.float32)]
    return [Given((TOKENS, sizes.width), kind), bounds, *(Given(t, kind) for t in own), *abilities]


def plugins(sizes: Sizes) -> dict[str, Any]:
    trt, trtp = load()
    found = []
    for target in TARGETS:
        space = f"{NAMESPACE}_{target}"  # a process has each name once
        register(trt, trtp, sizes, target, namespace=space)
        for name in PLUGINS:
            for kind in (trt.float16, trt.float32):
                given = inputs(name, sizes, kind, trt)
                one = Driven.by_build(trt, trtp, f"{space}::{name}", given)
                found.append(
                    {k: v for k, v in asdict(one).items() if k != "ptx"}
                    | {
                        "name": name,
                        "target": target,
                        "kind": kind.name,
                        "parameters": one.ptx[: one.ptx.index(")")].count(".param "),
                        "version": one.ptx[one.ptx.index(".version") :].split()[1],
                        "assembles": assembles(one.ptx, target),
                        "given": len(given),
                    }
                )
    register(trt, trtp, sizes, TARGETS[0])
    known = [c.name for c in trt.get_plugin_registry().all_creators]
    again = ""
    try:
        register(trt, trtp, sizes, TARGETS[0])
    except ValueError as error:
        again = str(error)
    return {
        "sizes": asdict(sizes),
        "found": found,
        "known": known,
        "bound": [hasattr(getattr(trtp.op, NAMESPACE), name) for name in PLUGINS],
        "again": again,
        "tensorrt": trt.__version__,
    }


if __name__ == "__main__":
    KEPT, SHIPPED = Sizes.kept(), Sizes.of_manifest(Bundle.load().manifest)
    if sys.argv[1] == "table":
        ANSWER = {
            "kept": [asdict(row) for row in table(KEPT)],
            "shipped": [asdict(row) for row in table(SHIPPED)] if SHIPPED != KEPT else [],
        }
    else:
        ANSWER = plugins(SHIPPED)
    print(json.dumps(ANSWER))
