"""Writes ``cpu/`` and ``gpu/``, two repositories that a client cannot tell apart.

``python -m model_repo.generate --to FOLDER [--bundle FOLDER]`` fills one template
(``config.pbtxt.in``) twice for every length bucket. The names, tensors, batching and
what travels with a model are the same; only this differs:

- ``cpu/`` runs the bundle's int8 graph in ONNX Runtime inside Triton's Python backend
  (``python_model.py``), on KIND_CPU;
- ``gpu/`` is a ``tensorrt_plan`` on KIND_GPU with one optimisation profile a bucket,
  warm-up, and CUDA graphs at the listed batch sizes. Its plan is built on the target
  machine at first start from a half-precision graph, as ``build.json`` there says:
  a plan fits one GPU and one TensorRT only, so none is made here.

Two instances a model: with one, this server stalls now and then under a queue policy.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from string import Template
from typing import Final

from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import INPUT, OnnxEncoder
from sidecar.encoder.served import LABELLED, MODEL, Served

HERE: Final = Path(__file__).parent
MAX_BATCH: Final = 32
MAX_QUEUE: Final = 256
GRAPHS: Final = (1, 2, 4, 8, 16, 32)  # batch sizes captured as CUDA graphs
PLAN: Final = "model.plan"


def _block(name: str, lines: list[str]) -> str:
    return "\n".join([f"{name} {{", *(f"  {line}" for line in lines), "}"])


def _output(served: Served, name: str, scalar_in_graph: bool) -> str:
    lines = [f'name: "{name}"', "data_type: TYPE_FP32", f"dims: [ {served.widths[name]} ]"]
    if name in LABELLED:
        lines.append(f'label_filename: "{name}.txt"')
    if scalar_in_graph and served.widths[name] == 1:
        lines.append("reshape { shape: [ ] }")  # [batch] in the graph, [batch, 1] to a client
    return _block("output", lines)


def _graphs(bucket: int) -> str:
    specs = [
        f'graph_spec {{ batch_size: {n} input {{ key: "{INPUT}" value {{ dim: [ {bucket} ] }} }} }}'
        for n in GRAPHS
    ]
    return _block("optimization", ["cuda {", "  graphs: true", *(f"  {s}" for s in specs), "}"])


def _warmup(bucket: int, batch: int) -> str:
    sample = f'key: "{INPUT}" value {{ data_type: TYPE_INT32 dims: [ {bucket} ] zero_data: true }}'
    lines = [f'name: "batch_{batch}"', f"batch_size: {batch}", f"inputs {{ {sample} }}"]
    return _block("model_warmup", lines)


def config(served: Served, bucket: int, kind: str) -> str:
    """The ``config.pbtxt`` of one bucket; ``kind`` is "cpu" or "gpu"."""
    gpu = kind == "gpu"
    platform = f'platform: "tensorrt_plan"\ndefault_model_filename: "{PLAN}"'
    parameters = [
        _block("parameters", [f'key: "{k}"', f"value {{ string_value: {json.dumps(v)} }}"])
        for k, v in served.parameters.items()
    ]
    return Template((HERE / "config.pbtxt.in").read_text()).substitute(
        version=served.version,
        name=served.name(bucket),
        platform=platform if gpu else 'backend: "python"',
        max_batch=MAX_BATCH,
        input=INPUT,
        bucket=bucket,
        outputs="\n".join(_output(served, name, gpu) for name in served.widths),
        kind="KIND_GPU" if gpu else "KIND_CPU",
        max_queue=MAX_QUEUE,
        optimization=_graphs(bucket) if gpu else "",
        warmup="\n".join(_warmup(bucket, n) for n in ((1, MAX_BATCH) if gpu else (1,))),
        parameters="\n".join(parameters),
    )


def profile(bucket: int) -> dict[str, list[int]]:
    """The one optimisation profile of a bucket's plan: [batch, ids] least, usual, most."""
    return {
        "min": [1, bucket],
        "opt": [GRAPHS[len(GRAPHS) // 2], bucket],
        "max": [MAX_BATCH, bucket],
    }


def generate(bundle: Bundle, to: Path, model: str = MODEL) -> list[Path]:
    """Write both repositories under ``to``; answers every model's folder.

    Replaces what an earlier call wrote for the same names; leaves other files alone.
    Raises EncoderError for a graph that does not load or has other tensors.
    """
    OnnxEncoder(bundle)
    served = Served.of(bundle, model)
    made = []
    for kind in ("cpu", "gpu"):
        for bucket in served.buckets:
            folder = to / kind / served.name(bucket)
            (folder / "1").mkdir(parents=True, exist_ok=True)
            (folder / "config.pbtxt").write_text(config(served, bucket, kind))
            for name in LABELLED:
                (folder / f"{name}.txt").write_text("\n".join(served.labels[name]) + "\n")
            if kind == "cpu":
                shutil.copyfile(HERE / "python_model.py", folder / "1" / "model.py")
                (folder / "1" / "model.onnx").write_bytes(bundle.onnx)
                (folder / "1" / "manifest.json").write_text(json.dumps(bundle.manifest))
            else:
                wanted = {"input": INPUT, "profile": profile(bucket), "precision": "fp16"}
                wanted |= {"encoder_version": served.version, "plan": f"1/{PLAN}"}
                (folder / "build.json").write_text(json.dumps(wanted, indent=1) + "\n")
            made.append(folder)
    return made


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m model_repo.generate", description=__doc__)
    parser.add_argument("--to", type=Path, required=True, help="the folder for cpu/ and gpu/")
    parser.add_argument("--bundle", type=Path, help="an encoder's folder; the packaged one")
    parser.add_argument("--model", default=MODEL, help="what `classifier.triton.model` says")
    args = parser.parse_args(arguments)
    for folder in generate(Bundle.load(args.bundle), args.to, args.model):
        print(folder)


if __name__ == "__main__":
    main()
