"""``check`` and ``explain`` from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import config_for
from tests.support.wire import chat
from tests.unit.config.test_loader import EXAMPLE

GENEROUS = 90.0  # seconds


def sidecar(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "sidecar", *args],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=GENEROUS,
        check=False,
    )


@pytest.fixture
def file(tmp_path: Path) -> str:
    written = tmp_path / "sidecar.yaml"
    written.write_text(yaml.safe_dump(config_for("http://127.0.0.1:1/v1"), sort_keys=False))
    return str(written)


def test_check_of_the_contracts_example_is_good_and_names_the_missing_key(tmp_path: Path) -> None:
    example = tmp_path / "example.yaml"
    example.write_text(EXAMPLE)
    done = sidecar("check", str(example))
    assert done.returncode == 0
    assert "good: 2 models, 1 routes" in done.stdout.splitlines()[0]
    assert "LOCAL_KEY is not set" in done.stderr


def test_check_says_what_each_route_will_do(tmp_path: Path) -> None:
    written = tmp_path / "routes.yaml"
    written.write_text(
        """\
upstreams: {local: {base_url: "http://127.0.0.1:9001/v1"}}
models:
  large: {upstream: local, ability: gpt-4o-2024-08-06, price: {input: 2.5, output: 10}}
  small: {upstream: local, ability: llama-3.1-8b-instruct, price: {input: 0.07, output: 0.07}}
routes:
  auto: {models: [large, small], default: large, max_cost_usd: 0.05}
  careful: {policy: cascade, models: [small, large], default: large, quality: 0.9}
  plain:
    {policy: threshold, models: [small], default: large, threshold: 0.6,
     rules: [{name: vip, when: {tenant: acme}, model: large}]}
budgets:
  acme: {per: tenant, only: acme, period: month, usd: 100}
  own: {per: route, only: plain, period: day, tokens: 1000000, at_limit: refuse}
"""
    )
    done = sidecar("check", str(written))
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[2:] if line.strip()}
    for route, *said in (
        ("auto", "cost_quality", "0.97 of the best chance", "small 0.07/0.07, large 2.5/10"),
        ("auto", "0.05 USD a request"),
        ("careful", "cascade", "0.9 of the best chance; a try from 0.7 of it, for 25% more"),
        ("plain", "threshold, rules first: 1", "a chance of 0.6"),
    ):
        for words in said:
            assert words in rows[route]
    assert "own" not in rows["auto"]
    assert "acme: 100 USD a month for tenant acme, then cheapest" in done.stdout
    assert done.stdout.count("own: 1,000,000 tokens a day per route, then refuse") == 1


def test_check_of_a_bad_file_exits_2_with_one_line_a_fault(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        EXAMPLE.replace("deadline_ms: 8", "deadline_ms: soon").replace("price:", "prize:")
    )
    done = sidecar("check", str(bad))
    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 2
    assert lines == sorted(lines, key=lambda line: int(line.split(":")[1]))
    assert all(line.startswith(f"{bad}:") for line in lines)
    for expected in (
        ":5: classifier.deadline_ms: ",
        ":11: models.small.prize: unknown key; did you mean 'price'?",
        ":10: models.small.price: is required",
    ):
        assert any(line.startswith(f"{bad}{expected}") for line in lines), lines


def test_check_of_no_file_exits_2_and_names_it(tmp_path: Path) -> None:
    done = sidecar("check", str(tmp_path / "none.yaml"))
    assert done.returncode == 2
    assert f"{tmp_path / 'none.yaml'}: cannot be read" in done.stderr


def test_explain_tells_the_whole_chain_in_json(file: str) -> None:
    done = sidecar("explain", "--config", file, "--json", "What is the capital of France?")
    assert done.returncode == 0, done.stderr
    story = json.loads(done.stdout)
    assert story["model"] in {"small", "large"}
    assert story["reason"] == "policy"
    assert [step["stage"] for step in story["steps"]] == ["capability", "classifier", "policy"]
    assert {c["model"] for c in story["candidates"]} == {"small", "large"}
    assert all(0 <= c["probability"] <= 1 for c in story["candidates"])
    assert story["reading"]["task"]


def test_explain_takes_a_request_body_on_stdin(file: str) -> None:
    done = sidecar("explain", "--config", file, "--json", stdin=json.dumps(chat(model="large")))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["reason"] == "explicit"


def test_explain_shows_a_person_the_same(file: str) -> None:
    done = sidecar("explain", "--config", file, "hello")
    assert done.returncode == 0, done.stderr
    assert "auto" in done.stdout
    assert "P(suffices)" in done.stdout


@pytest.mark.parametrize("body", ["", "[]", '{"model":"auto"}', '{"model":"nobody"'])
def test_explain_of_a_bad_body_exits_2_with_a_sentence(file: str, body: str) -> None:
    done = sidecar("explain", "--config", file, stdin=body)
    assert done.returncode == 2
    assert done.stderr.startswith("sidecar: ")
    assert "Traceback" not in done.stderr
