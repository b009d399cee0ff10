"""The offline commands, as a person types them."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path
from typing import Any

import pytest

from sidecar.cli import main
from sidecar.types import DOMAINS, TASKS, TIERS
from tests.unit.offline.conftest import scored, write


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(autouse=True)
def no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an offline command opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)


def test_score_answers_every_row_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "in.jsonl"
    good = [{"id": f"r{i}", "prompt": "word " * (i * 37 % 200 + 1)} for i in range(40)]
    text = [json.dumps(row) for row in good]
    text.insert(3, "garbage")
    text.insert(9, '{"id": "x", "prompt": null}')
    text.append('{"id": "m", "messages": [{"role": "user", "content": "hi"}]}')
    file.write_text("\n".join(text) + "\n")
    assert main(["score", str(file)]) == 0
    captured = capsys.readouterr()
    rows = lines(captured.out)
    assert [r["id"] for r in rows if "error" not in r] == [g["id"] for g in good] + ["m"]
    assert "error" in rows[3]
    assert rows[9]["id"] == "x"
    assert "2 rows" in captured.err
    row = rows[0]
    assert row["task"] in TASKS
    assert row["domain"] in DOMAINS
    assert row["tier"] in TIERS
    assert 0 <= row["difficulty"] <= 1
    assert all(0 <= p <= 1 for p in row["suffices"].values())
    assert set(row["task_probs"]) == set(TASKS)


def test_score_writes_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "in.jsonl", [{"id": 1, "prompt": "hi"}])
    assert main(["score", str(file), "--output", str(tmp_path / "out.jsonl")]) == 0
    assert capsys.readouterr().out == ""
    assert len(lines((tmp_path / "out.jsonl").read_text())) == 1


def test_score_costs_no_file_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write(tmp_path / "rows.jsonl", [{"id": 1, "prompt": "hi"}])
    before = rows.read_text()
    assert main(["score", str(rows), "--output", str(rows)]) == 1
    assert "write to another" in capsys.readouterr().err
    assert main(["score", str(tmp_path / "none.jsonl"), "--output", str(rows)]) == 1
    assert "can't read" in capsys.readouterr().err
    assert rows.read_text() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ("id,prompt\n1,hello\n", "line 1 is not JSON: "),
        ('{"id": 1, "text": "hello"}\n', "line 1: needs prompt (a string)"),
    ],
)
def test_score_of_nothing_that_can_be_scored_says_what_a_row_is(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(text)
    assert main(["score", str(file)]) == 0  # each row is answered, if by an error
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(lines(captured.out)) == len(text.splitlines())


def test_score_reads_an_empty_prompt_as_out_of_distribution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "in.jsonl", [{"id": 1, "prompt": ""}])
    assert main(["score", str(file)]) == 0
    assert lines(capsys.readouterr().out)[0]["ood"] == 1


def test_a_fitted_model_is_scored_and_evaluated(
    scored_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.json"
    command = ["fit", str(scored_file), "--model", "tiny", "--model", "huge"]
    assert main([*command, "--output", str(mine)]) == 0
    report = capsys.readouterr().out
    assert "tiny: 160 rows" in report
    assert "held-out AUC" in report
    fresh = write(tmp_path / "fresh.jsonl", scored(200, seed=2))
    pair = ["--weak", "tiny", "--strong", "huge", "--abilities", str(mine)]
    assert main(["eval", str(fresh), *pair, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 200
    assert found["auc"] > 0.75
    assert found["apgr"] > 0.55
    assert found["baselines"]["oracle"]["apgr"] > found["apgr"]
    assert found["baselines"]["random"]["apgr"] == 0.5
    assert main(["score", str(fresh), "--abilities", str(mine)]) == 0
    assert 0 < lines(capsys.readouterr().out)[0]["suffices"]["tiny"] < 1


def test_eval_of_unknown_models_ranks_by_difficulty(
    scored_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(scored_file), "--weak", "tiny", "--strong", "huge", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ranked_by"].startswith("difficulty")
    assert found["ece"] is None
    assert main(["eval", str(scored_file), "--weak", "tiny", "--strong", "huge"]) == 0
    assert "APGR" in capsys.readouterr().out


def test_eval_draws(scored_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "curve.png"
    command = ["eval", str(scored_file), "--weak", "tiny", "--strong", "huge", "--json"]
    assert main([*command, "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_calibrate_meets_a_share_of_calls(
    scored_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", str(scored_file), "--strong-rate", "0.3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["strong_share"] == pytest.approx(0.3, abs=0.02)


def test_calibrate_meets_a_quality(scored_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = ["--weak", "tiny", "--strong", "huge"]
    assert main(["calibrate", str(scored_file), "--quality", "0.9", *pair, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["retention"] >= 0.9
    assert found["strong_share"] < 1


def test_calibrate_finds_the_pair_itself(
    scored_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", str(scored_file), "--quality", "0.9"]) == 0
    assert "weak is tiny" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["score", "{tmp}/none.jsonl"], "can't read"),
        (["score", "{file}", "--abilities", "{tmp}/none.json"], "abilities file"),
        (["fit", "{file}", "--model", "other", "--output", "{tmp}/o"], "no row"),
        (["fit", "{few}", "--model", "tiny", "--output", "{tmp}/o"], "at least 50"),
        (["fit", "{bad}", "--model", "tiny", "--output", "{tmp}/o"], "line 1"),
        (["fit", "{file}", "--model", "tiny", "--output", "{tmp}/no/o"], "there is no folder"),
        (["fit", "{file}", "--model", "tiny", "--output", "{tmp}"], "can't write"),
        (["fit", "{file}", "--model", "tin", "--output", "{tmp}/o"], "scored are huge, tiny"),
        (["fit", "{mute}", "--model", "tiny", "--output", "{tmp}/o"], "a column scores.NAME"),
        (["fit", "{list}", "--model", "tiny", "--output", "{tmp}/o"], "are one object a line"),
        (
            ["eval", "{file}", "--weak", "tiny", "--strong", "huge", "--plot", "{tmp}/no/p.png"],
            "there is no folder",
        ),
        (["eval", "{file}", "--weak", "tiny", "--strong", "other"], "no row"),
        (["calibrate", "{file}", "--strong-rate", "3"], "0 to 1"),
        (["calibrate", "{file}", "--quality", "9"], "no threshold"),
        (["calibrate", "{file}", "--quality", "0.9", "--weak", "tiny"], "together"),
        (["calibrate", "{table}", "--strong-rate", "0.3"], "no prompts: line 1 is not JSON"),
        (["calibrate", "{empty}", "--strong-rate", "0.3"], "no prompts: it is empty"),
        (["calibrate", "{empty}", "--quality", "0.9"], "rows that score at least two models"),
        (["eval", "{table}", "--weak", "tiny", "--strong", "huge"], "line 1 is not JSON"),
        (["report", "{tmp}/none.jsonl"], "No such file"),
        (["report", "{empty}"], "there is no decision in it"),
        (["report", "{table}"], "none of its 2 lines is a decision. Give the file that"),
        (["library", "build", "{file}", "--output", "{tmp}/l"], "of tiny, huge it knows none"),
        (["library", "build", "{mute}", "--output", "{tmp}/l"], "or with scores\n"),
        (["library", "build", "{odd}", "--output", "{tmp}/l"], "line 1: the label is easy or hard"),
        (["library", "build", "{said}", "--output", "{tmp}/no/l"], "there is no folder"),
        (["library", "build", "{said}", "--output", "{tmp}"], "can't write the library"),
    ],
)
def test_bad_input_ends_with_a_sentence(
    command: list[str],
    message: str,
    scored_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = write(tmp_path / "few.jsonl", scored(20))
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{\n")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "table.txt").write_text("id,prompt\n1,hello\n")
    names = {
        "tmp": tmp_path, "file": scored_file, "few": few, "bad": bad,
        "empty": tmp_path / "empty.jsonl", "table": tmp_path / "table.txt",
        "list": write(tmp_path / "list.json", [[{"id": 1, "prompt": "hello"}]]),
        "mute": write(tmp_path / "mute.jsonl", [{"id": 1, "prompt": "hello"}]),
        "odd": write(tmp_path / "odd.jsonl", [{"id": 1, "prompt": "hello", "label": ["easy"]}]),
        "said": write(tmp_path / "said.jsonl", [{"id": 1, "prompt": "hello", "label": "easy"}]),
    }  # fmt: skip
    assert main([part.format(**names) for part in command]) == 1
    assert message in capsys.readouterr().err


def test_fit_says_where_the_encoder_tells_little_of_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(0)
    rows: list[dict[str, Any]] = [
        {**row, "scores": {"dice": float(rng.random() < 0.5), "tiny": row["scores"]["tiny"]}}
        for row in scored(160)
    ]
    file = write(tmp_path / "rows.jsonl", rows)
    names = ["--model", "dice", "--model", "tiny"]
    assert main(["fit", str(file), *names, "--output", str(tmp_path / "a.json")]) == 0
    said = capsys.readouterr().err
    assert "dice: of which prompts it answers the encoder tells little" in said
    assert "tiny: of which" not in said
