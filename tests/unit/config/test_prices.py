"""A price file stands before the configuration's prices, and its faults have their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.config import prices
from sidecar.config.loader import load
from sidecar.config.snapshot import Snapshot
from sidecar.errors import ConfigError
from tests.support.builders import FakeAbilities

CONFIG = """\
upstreams:
  local: {base_url: http://127.0.0.1:9001/v1}
prices: {file: prices.json}
models:
  small: {upstream: local, ability: known, price: {input: 1, output: 2}}
  large: {upstream: local, ability: known, upstream_model: huge-1}
routes:
  auto: {models: [small, large], default: large}
"""


def read(tmp_path: Path, sheet: str, config: str = CONFIG) -> Snapshot:
    (tmp_path / "sidecar.yaml").write_text(config)
    (tmp_path / "prices.json").write_text(sheet)
    return load(tmp_path / "sidecar.yaml", FakeAbilities({"known": 0.5}), {})


def test_the_file_stands_before_the_configuration_by_either_name(tmp_path: Path) -> None:
    snapshot = read(
        tmp_path,
        '{"small": {"input": 3, "output": 4, "cached_input": 1, "cache_write": 5},'
        ' "huge-1": {"input": 5, "output": 6}, "unconfigured": {"input": 1, "output": 1}}',
    )
    small, large = snapshot.models["small"].price, snapshot.models["large"].price
    assert (small.input, small.cached_input, small.output) == (3, 1, 4)
    assert (large.input, large.cached_input, large.output) == (5, 5, 6)
    assert (small.cache_write, large.cache_write) == (5, None)
    assert snapshot.price_file == tmp_path / "prices.json"


def test_a_model_without_a_price_anywhere_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"yaml:6: models.large.price: is required"):
        read(tmp_path, "small: {input: 1, output: 1}")


@pytest.mark.parametrize(
    ("sheet", "said"),
    [
        ("huge-1: {input: 0, output: 1}", ":1: huge-1.input: must be greater than 0"),
        ("huge-1:\n  input: 1\n  output: -2", ":3: huge-1.output: must be greater than 0"),
        ("huge-1: {input: .nan, output: 1}", ":1: huge-1.input: "),
        ("huge-1: {input: .inf, output: 1}", ":1: huge-1.input: "),
        ("huge-1: {input: 1}", ":1: huge-1.output: is required"),
        ("huge-1: {input: 1, output: 1, cached: 2}", ":1: huge-1.cached: unknown key; did you"),
        ("huge-1: free", ":1: huge-1: "),
        ("- 1", ":1: (whole file): must be a mapping of model names"),
        ("", ":1: (whole file): must be a mapping of model names"),
        ("huge-1: {input: 1, out", ":1: not valid YAML: "),
    ],
)
def test_a_fault_of_the_file_names_its_line_and_key(tmp_path: Path, sheet: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, sheet)
    assert any(f.startswith(f"{tmp_path / 'prices.json'}{said}") for f in caught.value.faults)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text(CONFIG)
    with pytest.raises(ConfigError, match=r":3: prices\.file: no file prices\.json"):
        load(tmp_path / "sidecar.yaml", FakeAbilities({"known": 0.5}), {})


def test_new_prices_are_a_new_generation_and_the_old_snapshot_keeps_its_own(tmp_path: Path) -> None:
    before = read(tmp_path, "huge-1: {input: 5, output: 6}")
    (tmp_path / "prices.json").write_text("huge-1: {input: 50, output: 60}")
    after = prices.repriced(before, prices.load(tmp_path / "prices.json"))
    assert before.models["large"].price.output == 6
    assert after.models["large"].price.output == 60
    assert after.models["small"] is before.models["small"]
    assert after.generation == before.generation + 1
    assert prices.repriced(after, prices.load(tmp_path / "prices.json")) is after


def test_a_price_of_zero_in_the_configuration_is_a_model_of_ones_own(tmp_path: Path) -> None:
    free = CONFIG.replace("{input: 1, output: 2}", "{input: 0, output: 0}")
    assert read(tmp_path, "huge-1: {input: 5, output: 6}", free).models["small"].price.output == 0
