"""A plan's faults are told with file, line and key; what cannot be judged is a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.errors import ConfigError
from sidecar.load import plan
from sidecar.load.run import site_of

GOOD = """\
target: {url: http://127.0.0.1:8080/v1, api_key_env: A_KEY}
direct: {url: http://127.0.0.1:9001/v1, models: {small: llama}}
scenarios: {short_chat: 3, long_context: 1}
objectives: {decision_p99_ms: 10, added_gap_p99_ms: 2}
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "slo.yaml"
    file.write_text(text)
    return file


def faults(folder: Path, text: str, url: str | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan.load(write(folder, text), url)
    return caught.value.faults


def test_a_good_plan_has_the_defaults_filled_in(tmp_path: Path) -> None:
    read = plan.load(write(tmp_path, GOOD))
    assert read.load.rounds == 3
    assert read.objectives.given == {"decision_p99_ms": 10, "added_gap_p99_ms": 2}
    site = site_of(read, {"A_KEY": "k"})
    assert site.routed.key == "k"
    assert site.upstream_models == {"small": "llama"}


def test_the_command_lines_url_stands_in_place_of_the_targets(tmp_path: Path) -> None:
    read = plan.load(write(tmp_path, GOOD), "http://127.0.0.1:7/v1")
    assert read.target is not None
    assert read.target.url == "http://127.0.0.1:7/v1"
    assert read.target.api_key_env == "A_KEY"


def test_an_url_of_the_command_line_that_is_none_is_not_blamed_on_the_file(
    tmp_path: Path,
) -> None:
    [said] = faults(tmp_path, GOOD, "localhost:8080")
    assert said.startswith("--url: 'localhost:8080' is no base URL")


def test_a_missing_key_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="A_KEY is not set"):
        site_of(plan.load(write(tmp_path, GOOD)), {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "lod: {rate: 3}\n", "slo.yaml:5: lod: unknown key; did you mean 'load'?"),
        (GOOD + "load: {rate: 0}\n", "slo.yaml:5: load.rate: "),
        (GOOD.replace("short_chat", "small_talk"), "'small_talk' is unknown; use short_chat"),
        ("objectives: {}\n", "no objective is given"),
        ("[]\n", "must be a mapping"),
        (GOOD.replace("direct:", "# direct:"), "added_gap_p99_ms needs `direct`"),
        (GOOD + "prices: {}\n", ""),
        (
            GOOD.replace("added_gap_p99_ms: 2", "cost_share: 0.5"),
            "cost_share needs `prices`",
        ),
        (GOOD.replace("target:", "# target:"), "`direct` without `target`"),
        (GOOD.replace("added_gap_p99_ms: 2", "cost_share: .inf"), "cost_share: must be"),
        (GOOD.replace("decision_p99_ms: 10", "decision_p99_ms: .nan"), "decision_p99_ms: "),
        (GOOD + "load: {rate: .nan}\n", "load.rate: "),
    ],
)
def test_a_fault_is_told_with_file_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    if not said:
        assert plan.load(write(tmp_path, text))
        return
    found = faults(tmp_path, text)
    assert any(said in fault and "slo.yaml:" in fault for fault in found), found
