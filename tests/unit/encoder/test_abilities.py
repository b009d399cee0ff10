"""The catalogue: names resolve, probabilities are what the formula says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from sidecar.encoder.abilities import Ability, Catalogue, plain
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import OnnxEncoder
from sidecar.errors import DataError
from sidecar.features import features_of
from sidecar.types import Prompt, Reading

SMALL, LARGE = "llama-3.1-8b-instruct", "gpt-4o-2024-08-06"


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        (SMALL, SMALL),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", SMALL),
        ("meta-llama/Llama-3.1-8B-Instruct", SMALL),
        ("llama-3.1-8b", SMALL),
        ("gpt-4o", LARGE),
        ("openai/gpt-4o", LARGE),
        ("GPT-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("claude-3.5-sonnet", "claude-3-5-sonnet-20241022"),
        ("Qwen/Qwen2.5-72B-Instruct", "qwen2.5-72b-instruct"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b-instruct"),
        ("mixtral-8x7b-instruct@mmlu", "mixtral-8x7b-instruct@mmlu"),
        ("mixtral-8x7b-instruct@nowhere", None),
        ("never-heard-of-it", None),
        ("", None),
    ],
)
def test_a_name_resolves(catalogue: Catalogue, name: str, canonical: str | None) -> None:
    assert catalogue.resolve(name) == canonical


def test_every_alias_leads_to_a_model(bundle: Bundle, catalogue: Catalogue) -> None:
    for alias, spec in json.loads(bundle.abilities)["aliases"].items():
        assert catalogue.resolve(alias) == spec["model"]
        assert spec["why"].startswith(("exact: ", "assumed: "))


def test_a_near_name_is_suggested(catalogue: Catalogue) -> None:
    assert SMALL in catalogue.suggest("llama-3.1-8b-instrct")
    assert len(catalogue.suggest("gpt-4o-2024")) <= 5


def test_probability_is_the_item_response_formula() -> None:
    ability = Ability("m", (1.0, -2.0), 0.5, strength=0.6)
    catalogue = Catalogue([ability], {}, demand=2, encoder="v")
    reading = Reading(difficulty=0.5, demand=(0.3, 0.1))
    wanted = 1 / (1 + math.exp(-(0.3 - 0.2 + 0.5)))
    assert catalogue.suffices(reading, "m") == pytest.approx(wanted)
    found = catalogue.matrix(np.array([[0.3, 0.1]]), ["m"])
    assert found[0, 0] == pytest.approx(wanted)


def test_many_models_cost_one_call_and_keep_their_order(catalogue: Catalogue) -> None:
    reading = Reading(difficulty=0.5, demand=(0.1,) * catalogue.demand)
    names = catalogue.names
    together = catalogue.probabilities(reading, names)
    assert together == pytest.approx([catalogue.suffices(reading, n) for n in names])
    assert catalogue.probabilities(reading, names[::-1]) == pytest.approx(together[::-1])


def test_without_a_demand_the_stronger_model_still_ranks_higher(catalogue: Catalogue) -> None:
    weak, strong = Reading(difficulty=0.9), Reading(difficulty=0.1)
    assert catalogue.suffices(weak, SMALL) < catalogue.suffices(strong, SMALL)
    by_strength = sorted(catalogue.names, key=catalogue.strength)
    found = catalogue.probabilities(Reading(difficulty=0.4), by_strength)
    assert found == sorted(found)


def test_an_unknown_model_is_a_key_error(catalogue: Catalogue) -> None:
    with pytest.raises(KeyError):
        catalogue.suffices(Reading(difficulty=0.5), "nobody")


def test_a_stronger_model_suffices_more_often(encoder: OnnxEncoder, catalogue: Catalogue) -> None:
    texts = ["What is osmosis?", "A train travels 60 miles in 1.5 hours. How fast is it?"]
    for reading in encoder.read([features_of(Prompt(user=t)).window for t in texts]):
        weak, strong = catalogue.probabilities(reading, ["mixtral-8x7b-instruct", LARGE])
        assert weak < strong


def test_a_fitted_model_joins(catalogue: Catalogue, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    spec = {"a": [0.1] * catalogue.demand, "b": 0.2, "strength": 0.7, "rows": 99}
    report = {"format": 1, "encoder": catalogue.encoder, "models": {"mine": spec}}
    file.write_text(json.dumps(report))
    joined = catalogue.joined(file)
    assert joined.resolve("mine") == "mine"
    assert joined["mine"].rows == 99
    assert catalogue.resolve("mine") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not an abilities file"),
        ("[]", "not an abilities file"),
        ('{"format": 1, "encoder": "another", "models": {}}', "run `sidecar fit` again"),
    ],
)
def test_a_bad_abilities_file_is_refused(
    catalogue: Catalogue, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        catalogue.joined(file)


def test_a_missing_abilities_file_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't read"):
        catalogue.joined(tmp_path / "none.json")


def test_plain_names_lose_hosts_formats_and_case() -> None:
    assert plain("meta-llama/Meta-Llama-3.1-405B-Inst") == "llama-3.1-405b-instruct"
    assert plain("Org/Some_Model-AWQ") == "some-model"
