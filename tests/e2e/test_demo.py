"""``sidecar demo``, as a person at a terminal or a script runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.demo import runner, traffic

COMMAND = [sys.executable, "-m", "sidecar", "demo", "--speed", "0"]
MARK = "POINTSMAN_TEST_MARK"


class Marked:
    """Processes that carry this test's mark in their environment, children included."""

    def __init__(self, folder: Path) -> None:
        self.value = uuid.uuid4().hex
        self.folder = folder  # for what the demo writes
        self.env = {**os.environ, MARK: self.value, "TMPDIR": str(folder)}

    def left(self) -> list[str]:
        """The command lines of those still running."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environ = (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes()
            except OSError:  # gone meanwhile, or not ours to read
                continue
            if self.value.encode() in environ:
                found.append(command.replace(b"\0", b" ").decode())
        return found

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *options],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *options],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[Marked]:
    one = Marked(tmp_path)
    yield one
    assert one.left() == []


def test_json_is_one_object_whose_figures_add_up(marked: Marked) -> None:
    done = marked.run("--json", "--requests", "24")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["requests"], said["errors"]) == (24, 0)
    assert sum(said["models"].values()) == 24
    assert sum(said["reasons"].values()) == 24
    assert 0 < said["cost_usd"] <= said["cost_always_strong_usd"]
    assert 0 < said["decision_ms"]["p50"] <= said["decision_ms"]["p99"]
    assert said["backend"] in {"onnx", "triton", "heuristic"}
    assert len(done.stdout.strip().splitlines()) == 1
    assert list(marked.folder.glob("pointsman-demo-*")) == []


def test_every_prompt_of_the_demo_is_answered(marked: Marked) -> None:
    done = marked.run("--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["requests"], said["errors"]) == (200, 0)
    assert said["reasons"]["capability"] >= 8  # the pictures, at the least


def test_the_report_is_plain_where_it_is_piped(marked: Marked) -> None:
    done = marked.run("--requests", "12")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    for word in ("model", "gpt-4o", "always strong", "saved", "p50", "p99", "errors"):
        assert word in done.stdout
    assert "12/12 requests answered" in done.stderr


def test_kept_up_it_says_where_answers_and_ends_at_ctrl_c(marked: Marked) -> None:
    with marked.start("--requests", "4", "--keep") as process:
        try:
            assert process.stdout is not None
            text = ""
            while "until Ctrl-C" not in text:
                line = process.stdout.readline()
                assert line, process.stderr.read()
                text += line
            base = re.search(r"base URL\s+(\S+)", text)[1]
            admin = re.search(r"admin\s+(\S+)", text)[1]
            with urllib.request.urlopen(f"{base}/models", timeout=10) as answer:
                assert "auto" in {row["id"] for row in json.load(answer)["data"]}
            with urllib.request.urlopen(f"{admin}/readyz", timeout=10) as answer:
                assert json.load(answer)["mode"] == "ready"
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_leaves_nothing_running(
    marked: Marked, number: int, code: int
) -> None:
    with marked.start("--speed", "0.05") as process:
        try:
            assert process.stderr is not None
            while "requests" not in process.stderr.readline():
                pass
            process.send_signal(number)
            assert process.wait(20) == code
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
    assert marked.left() == []
    assert list(marked.folder.glob("pointsman-demo-*")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of the death")
def test_killed_outright_it_leaves_nothing_running_either(marked: Marked) -> None:
    with marked.start("--speed", "0.05") as process:
        assert process.stderr is not None
        while "requests" not in process.stderr.readline():
            pass
        process.kill()
        process.wait(20)
        # both pipes are held by no child, so what is left is asked of the kernel
        for _ in range(200):
            if not marked.left():
                break
            signal.sigtimedwait([], 0.05)
    assert marked.left() == []


def test_without_the_client_it_says_what_to_install(marked: Marked) -> None:
    hide = (
        "import sys; sys.modules['openai'] = None; from sidecar.cli import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide, "demo"],
        env=marked.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'pointsman[demo]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("value", ["0", "-3", "many", "1.5"])
def test_a_number_of_requests_that_is_none_is_refused(marked: Marked, value: str) -> None:
    done = marked.run("--requests", value)
    assert done.returncode == 2
    assert "--requests" in done.stderr


def test_a_request_that_fails_makes_it_exit_1_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {
            "id": "good",
            "kind": "qa",
            "stream": True,
            "messages": [{"role": "user", "content": "A"}],
        },
        {"id": "bad", "kind": "qa", "stream": False, "messages": []},
    ]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(traffic, "PROMPTS", prompts)
    assert runner.run(runner.Options(as_json=True, speed=0)) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["requests"], said["errors"]) == (2, 1)
    assert sum(said["models"].values()) == 1
