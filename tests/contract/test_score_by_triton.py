"""``sidecar score --backend triton`` prints what ``--backend onnx`` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.cli import main
from tests.support.triton import TritonServer, needed

PROMPTS = ["hi", "Prove that e is irrational.", "", "word " * 3000, "Translate: good morning"]


def score(file: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    assert main(["score", str(file), *options]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_same_rows_come_out(
    triton_server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "in.jsonl"
    rows = [{"id": i, "prompt": text} for i, text in enumerate(PROMPTS * 5)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    here = score(file, capsys)
    there = score(file, capsys, "--backend", "triton", "--triton", triton_server.url)
    assert [row["id"] for row in there] == [row["id"] for row in here]
    for one, other in zip(here, there, strict=True):
        assert other["task"] == one["task"]
        assert other["version"] == one["version"]
        assert other["difficulty"] == pytest.approx(one["difficulty"], abs=0.02)
        assert other["suffices"] == pytest.approx(one["suffices"], abs=0.05)


def test_a_server_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needed()
    file = tmp_path / "in.jsonl"
    file.write_text('{"id": 1, "prompt": "hi"}\n')
    assert main(["score", str(file), "--backend", "triton", "--triton", "127.0.0.1:1"]) != 0
    assert "Triton at 127.0.0.1:1 failed (UNAVAILABLE" in capsys.readouterr().err


def test_the_servers_other_port_is_told_from_its_grpc(
    triton_server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"id": 1, "prompt": "hi"}\n')
    url = triton_server.http.removeprefix("http://")
    assert main(["score", str(file), "--backend", "triton", "--triton", url]) != 0
    said = capsys.readouterr().err
    assert f"what listens at {url} spoke no gRPC: Triton has it on port 8001" in said
