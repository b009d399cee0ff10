"""Training goes on from the shipped files, from a shallower run, and with either stepper."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: the extra `train`")

from distill.export import FILES, run  # noqa: E402
from distill.loop import Plan, fitting, steppers  # noqa: E402
from distill.network import Student, grown  # noqa: E402
from distill.shipped import adopted  # noqa: E402


@pytest.fixture(scope="module")
def catalogue() -> dict[str, Any]:
    return json.loads((FILES / "abilities.json").read_text())["models"]


@pytest.fixture(scope="module")
def columns(catalogue: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"source": source.partition(".")[0], "raw": spec["raw"], "model": name}
        for name, model in sorted(catalogue.items())
        for source, spec in model["sources"].items()
    ]


@pytest.fixture(scope="module")
def parts(columns: list[dict[str, str]]) -> Any:
    return adopted(Path(FILES), columns)[1].eval()


def random_ids(rows: int = 6, length: int = 64) -> np.ndarray:
    ids = np.random.default_rng(0).integers(5, 9000, (rows, length)).astype(np.int32)
    ids[1:, 40:] = 0
    return ids


def test_the_shipped_files_train_on_from_what_they_answer(parts: Any) -> None:
    ids = random_ids()
    with torch.no_grad():
        found = parts["heads"](parts["encoder"](torch.from_numpy(ids)))
    served = run(Path(FILES) / "model.fp32.onnx", ids)
    assert np.abs(found["demand"].numpy() - served["demand"]).max() < 1e-3
    assert np.abs(found["task"].softmax(-1).numpy() - served["task"]).max() < 1e-4
    assert np.abs(found["difficulty"].sigmoid().numpy() - served["difficulty"]).max() < 1e-4


def test_a_column_of_the_shipped_files_says_what_the_catalogue_says(
    parts: Any, columns: list[dict[str, str]], catalogue: dict[str, Any]
) -> None:
    z = torch.randn(4, parts["heads"].demand.out_features)
    with torch.no_grad():
        found = parts["heads"].columns(z).numpy()
    for j, column in enumerate(columns):
        spec = next(
            s
            for k, s in catalogue[column["model"]]["sources"].items()
            if k.partition(".")[0] == column["source"] and s["raw"] == column["raw"]
        )
        wanted = z.numpy() @ np.array(spec["a"]) + spec["b"]
        assert np.abs(found[:, j] - wanted).max() < 1e-3, column


def test_a_deeper_student_begins_near_to_the_shallower_one(parts: Any) -> None:
    before = parts["encoder"]
    deeper = Student(dataclasses.replace(before.shape, layers=before.shape.layers + 1))
    state = {f"encoder.{name}": value for name, value in before.state_dict().items()}
    first = grown(state, before.shape.layers + 1)
    deeper.load_state_dict({name.removeprefix("encoder."): v for name, v in first.items()})
    ids = torch.from_numpy(random_ids(32))
    with torch.no_grad():
        old, new = (parts["heads"](e(ids))["demand"] for e in (before, deeper.eval()))
    assert torch.corrcoef(torch.stack([old.flatten(), new.flatten()]))[0, 1] > 0.9
    assert set(grown(state, before.shape.layers)) == set(state)


def test_a_run_goes_on_under_a_voice_of_another_width(parts: Any) -> None:
    """The projection to the voice's space is the only weight that a run cannot take along."""
    width = parts["encoder"].width
    before = dict(parts.state_dict()) | {"project.weight": torch.zeros(384, width)}
    onward = torch.nn.ModuleDict({**parts, "project": torch.nn.Linear(width, 768)})
    taken = fitting(before, onward)
    assert set(before) - set(taken) == {"project.weight"}
    onward.load_state_dict(taken, strict=False)
    same = torch.nn.ModuleDict({**parts, "project": torch.nn.Linear(width, 384)})
    assert set(fitting(before, same)) == set(before)


@pytest.mark.parametrize("matrices", ["adamw", "muon"])
def test_every_weight_is_stepped_once(parts: Any, matrices: str) -> None:
    found = steppers(Plan("x", matrices=matrices), parts)
    stepped = [p for o in found for group in o.param_groups for p in group["params"]]
    assert len(stepped) == len({id(p) for p in stepped})
    assert {id(p) for p in stepped} == {id(p) for p in parts.parameters()}
    by_muon = {id(p) for o in found[1:] for group in o.param_groups for p in group["params"]}
    names = {name for name, p in parts.named_parameters() if id(p) in by_muon}
    assert all(name.startswith("encoder.blocks") for name in names)
    assert bool(names) == (matrices == "muon")
