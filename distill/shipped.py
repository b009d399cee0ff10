"""The shipped encoder as a run, to train on from where nothing else of its training is left.

``python -m distill.shipped`` writes ``<work>/shipped``: the exported weights under their
names in training, and the catalogue's abilities as the heads' columns. What an export does
not keep begins anew: the models' common direction is the mean of their columns, the scales
of calibration stay folded into them, and the optimiser has no past. Weights were stored as
halves: ``distill.export`` prints by how much its graphs' answers differ from the run's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill.common import canonical, say, work_dir
from distill.export import FILES
from distill.network import Heads, Shape, Student
from distill.rows import load_columns
from kernels.weights import from_onnx


def catalogue_columns(
    columns: list[dict[str, str]], models: dict[str, Any]
) -> list[tuple[list[float], float] | None]:
    """(a, b) of every column; None where the catalogue keeps another measurement of it."""
    known = {
        (source.partition(".")[0], spec["raw"]): (spec["a"], spec["b"])
        for model in models.values()
        for source, spec in model["sources"].items()
    }
    return [known.get((c["source"], c["raw"])) for c in columns]


def adopt(heads: Heads, columns: list[dict[str, str]], models: dict[str, Any]) -> None:
    """Sets what the heads know of models, so that a column's logit is the catalogue's."""
    found = catalogue_columns(columns, models)
    per_model: dict[int, list[tuple[Tensor, float]]] = {}
    for j, one in enumerate(found):
        if one is not None:
            per_model.setdefault(int(heads.model_of[j]), []).append((torch.tensor(one[0]), one[1]))
    with torch.no_grad():
        mean = {i: torch.stack([a for a, _ in own]).mean(0) for i, own in per_model.items()}
        heads.direction.copy_(torch.stack(list(mean.values())).mean(0))
        heads.gain.zero_()
        for i, name in enumerate(heads.models):
            served = models.get(canonical(name))
            if i in mean:
                heads.ability[i] = mean[i] - heads.direction
                own = per_model[i]
                heads.easiness[i] = sum(b for _, b in own) / len(own)
            elif served is not None:
                heads.ability[i] = torch.tensor(served["a"]) - heads.direction
                heads.easiness[i] = served["b"]
        for j, one in enumerate(found):
            if one is not None:
                i = int(heads.model_of[j])
                heads.d_ability[j] = torch.tensor(one[0]) - mean[i]
                heads.d_easiness[j] = one[1] - heads.easiness[i]


def adopted(files: Path, columns: list[dict[str, str]]) -> tuple[Shape, nn.ModuleDict]:
    """The student and heads of a folder of shipped files, for the columns of a training table."""
    shape = Shape(**json.loads((files / "manifest.json").read_text())["shape"])
    student, heads = Student(shape), Heads(shape.width, shape.demand, columns)
    state = dict(from_onnx((files / "model.fp32.onnx").read_bytes()).state)
    of_heads = {k.removeprefix("heads."): v for k, v in state.items() if k.startswith("heads.")}
    student.load_state_dict({k: v for k, v in state.items() if k in student.state_dict()})
    left = heads.load_state_dict(of_heads, strict=False).missing_keys
    trained = {name for name in left if name.endswith((".weight", ".bias"))}
    assert not trained, f"the graph lacks {sorted(trained)}"
    adopt(heads, columns, json.loads((files / "abilities.json").read_text())["models"])
    return shape, nn.ModuleDict({"encoder": student, "heads": heads})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="shipped")
    parser.add_argument("--files", type=Path, default=FILES)
    args = parser.parse_args()
    columns = load_columns()
    shape, parts = adopted(args.files, columns)
    folder = work_dir() / args.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shape.json").write_text(json.dumps(shape.as_dict()))
    (folder / "columns.json").write_text(json.dumps(columns))
    (folder / "without.json").write_text("[]")
    torch.save({"parts": parts.state_dict(), "step": 0, "done": True}, folder / "checkpoint.pt")
    say(f"the shipped encoder, as a run to start from -> {folder}")


if __name__ == "__main__":
    main()
