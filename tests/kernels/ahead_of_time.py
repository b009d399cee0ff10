"""Runs in a process of its own, without the interpreter: compiles, and prints what it found.

``python -m tests.kernels.ahead_of_time table`` answers the table of kernels.compile, at
the sizes of the committed table and, where they differ, of the shipped encoder;
``plugins`` registers the quick plugins with the stand-in and calls each function.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from triton.backends import nvidia

from kernels.compile import TARGETS, Sizes, table
from kernels.plugin import NAMESPACE, PLUGINS, register
from sidecar.encoder.bundle import Bundle
from tests.kernels.quick_plugin import TRT, QuickPlugins, TensorDesc

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


def inputs(name: str, sizes: Sizes, kind: str) -> list[TensorDesc]:
    count = sizes.demand + sum(sizes.labels) + 2
    bounds = TensorDesc((SEQUENCES + 1,), TRT.int32)
    if name == "embed_norm":
        tables = [(17309, sizes.embed), (256, sizes.embed), (sizes.embed,), (sizes.embed,)]
        return [TensorDesc((TOKENS,), TRT.int32), bounds, *(TensorDesc(t, kind) for t in tables)]
    if name == "varlen_attention":
        depth = sizes.width // sizes.heads
        return [TensorDesc((TOKENS, 3, sizes.heads, depth), kind), bounds]
    own = [
        (sizes.queries, sizes.width),
        (sizes.width, sizes.queries * sizes.width),
        (sizes.width,),
        (count, sizes.width),
        (count,),
    ]
    abilities = [
        TensorDesc((MODELS, sizes.demand), TRT.float32),
        TensorDesc((MODELS,), TRT.float32),
    ]
    x = TensorDesc((TOKENS, sizes.width), kind)
    return [x, bounds, *(TensorDesc(t, kind) for t in own), *abilities]


def plugins(sizes: Sizes) -> list[dict[str, object]]:
    found = []
    for target in TARGETS:
        library = QuickPlugins()
        register(TRT, library, sizes, target)
        for name in PLUGINS:
            known = f"{NAMESPACE}::{name}"
            for kind in (TRT.float16, TRT.float32):
                given = inputs(name, sizes, kind)
                outputs = library.described[known](*given)
                (tuned,) = library.tuned[known](*given, outputs)
                entry, ptx, launch, integers = library.compiled[known](*given, outputs, 0)
                found.append(
                    {
                        "name": name,
                        "target": target,
                        "kind": kind,
                        "outputs": [[list(o.shape_expr), o.dtype] for o in outputs],
                        "tuned": [tuned.io_types, tuned.layouts],
                        "entry": entry,
                        "parameters": ptx[: ptx.index(")")].count(".param "),
                        "version": ptx[ptx.index(".version") :].split()[1],
                        "assembles": assembles(ptx, target),
                        "grid": [launch.grid_x, launch.grid_y, launch.grid_z],
                        "block": launch.block_x,
                        "shared": launch.shared_mem,
                        "integers": list(integers),
                        "given": len(given),
                    }
                )
    return found


if __name__ == "__main__":
    KEPT, SHIPPED = Sizes.kept(), Sizes.of_manifest(Bundle.load().manifest)
    if sys.argv[1] == "table":
        ANSWER = {
            "kept": [asdict(row) for row in table(KEPT)],
            "shipped": [asdict(row) for row in table(SHIPPED)] if SHIPPED != KEPT else [],
        }
    else:
        ANSWER = {"sizes": asdict(SHIPPED), "found": plugins(SHIPPED)}
    print(json.dumps(ANSWER))
