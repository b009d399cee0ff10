"""The mock as a process of its own: it says where it is, and never outlives its parent."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "sidecar.demo.mock", "--port", "0", "--speed", "0"]


def start(*options: str) -> tuple[subprocess.Popen[str], dict]:
    process = subprocess.Popen(
        [*COMMAND, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def models(url: str) -> list[str]:
    with urllib.request.urlopen(f"{url}/models", timeout=10) as answer:
        return [row["id"] for row in json.load(answer)["data"]]


def test_it_prints_its_url_and_stops_when_its_input_ends() -> None:
    process, line = start()
    with process:
        assert models(line["url"]) == line["models"]
        process.stdin.close()
        assert process.wait(10) == 0


def test_it_stops_on_sigterm() -> None:
    process, _ = start()
    with process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_it_serves_the_models_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    file.write_text(json.dumps([{"name": "tiny", "tokens_per_s": 5, "vision": False}]))
    process, line = start("--models", str(file))
    with process:
        assert models(line["url"]) == ["tiny"]
        process.terminate()
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "non-empty list"),
        ("{", "not a readable JSON file"),
        ('[{"name": "a", "pace": 3}]', "unknown field 'pace'"),
        ('[{"name": "a", "vision": 1}]', "vision cannot be 1"),
        ('[{"name": "a"}, {"name": "a"}]', "the same name"),
    ],
)
def test_a_bad_file_of_models_is_explained(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "models.json"
    file.write_text(text)
    done = subprocess.run(
        [*COMMAND, "--models", str(file)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
