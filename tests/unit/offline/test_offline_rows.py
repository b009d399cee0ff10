"""Rows stream in order; a bad one is said to be bad and the rest go on."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from sidecar.errors import DataError
from sidecar.offline.rows import BadRow, Row, parse, read_rows


def test_both_forms_of_a_row_are_read() -> None:
    row = parse(b'{"id": "a", "prompt": "hi"}', 1)
    assert isinstance(row, Row)
    assert (row.id, row.prompt.user) == ("a", "hi")
    row = parse(
        b'{"id": 2, "messages": [{"role": "system", "content": "s"}, {"role": "user", "content":'
        b' "first"}, {"role": "assistant", "content": null}, {"role": "user", "content": ['
        b'{"type": "text", "text": "last"}, {"type": "image_url", "image_url": {}}]}],'
        b' "tools": [{}]}',
        1,
    )
    assert isinstance(row, Row)
    prompt = row.prompt
    assert (prompt.system, prompt.user, prompt.turns) == ("s", "last", 2)
    assert (prompt.media, prompt.tools) == (1, 1)


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[1]",
        b"7",
        b"{}",
        b'{"id": 1, "prompt": 5}',
        b'{"id": 1, "messages": []}',
        b'{"id": 1, "messages": ["hi"]}',
        b'{"id": 1, "prompt": "x", "scores": {"m": 2}}',
        b'{"id": 1, "prompt": "x", "scores": {"m": "1"}}',
        b'{"id": 1, "prompt": "x", "scores": []}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_bad_row_says_why_and_on_which_line(line: bytes) -> None:
    row = parse(line, 7)
    assert isinstance(row, BadRow)
    assert "line 7" in row.error


def test_a_bad_row_never_repeats_its_text() -> None:
    row = parse(b'{"id": 1, "prompt": {"secret": "swordfish"}}', 1)
    assert isinstance(row, BadRow)
    assert "swordfish" not in row.error


def test_half_a_surrogate_pair_is_text() -> None:
    assert isinstance(parse(b'{"id": 1, "prompt": "\\ud800 x"}', 1), Row)


def test_a_missing_id_is_the_line_number() -> None:
    assert parse(b'{"prompt": "x"}', 12).id == 12


def test_gzip_is_read_as_it_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.gz"
    with gzip.open(file, "wb") as out:
        out.write(b'{"id": 1, "prompt": "x"}\n\n{"id": 2, "prompt": "y"}')
    assert [row.id for row in read_rows(file)] == [1, 2]


def test_what_is_no_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl"):
        list(read_rows(tmp_path / "none.jsonl"))
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"broken\.jsonl\.gz"):
        list(read_rows(broken))


# -- CSV --------------------------------------------------------------------------------


def csv_rows(tmp_path: Path, text: bytes, name: str = "rows.csv") -> list[Row | BadRow]:
    file = tmp_path / name
    file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return list(read_rows(file))


@pytest.mark.parametrize("parted", [b",", b";", b"\t"])
@pytest.mark.parametrize("name", ["rows.csv", "ROWS.CSV", "rows.csv.gz"])
def test_a_spreadsheets_rows_are_read(tmp_path: Path, parted: bytes, name: str) -> None:
    text = (
        b"\xef\xbb\xbfid,prompt,scores.llama-3.1-8b,scores.large\r\n"
        b'a,"what, then?\nA. this\nB. that",0.5,1\r\n\r\n'
        b"b,hi,,0\r\n"
    )
    if parted != b",":
        text = text.replace(b"what, then?", b"what! then?").replace(b",", parted)
        text = text.replace(b"what! then?", b"what, then?")
    one, two = csv_rows(tmp_path, text, name)
    assert isinstance(one, Row)
    assert isinstance(two, Row)
    assert (one.id, one.prompt.user) == ("a", "what, then?\nA. this\nB. that")
    assert one.scores == {"llama-3.1-8b": 0.5, "large": 1.0}
    assert two.scores == {"large": 0.0}  # an empty cell says nothing


def test_a_prompt_in_csv_may_be_long(tmp_path: Path) -> None:
    (row,) = csv_rows(tmp_path, b"prompt,scores.m\n" + b"x" * 300_000 + b",1\n")
    assert isinstance(row, Row)
    assert len(row.prompt.user) == 300_000


def test_a_bad_row_of_csv_says_its_line(tmp_path: Path) -> None:
    rows = csv_rows(tmp_path, b'prompt,scores.m\n"a\nb",1\nhi,five\nho,7\n,1\n')
    said = [row.error for row in rows if isinstance(row, BadRow)]
    assert [error.partition(":")[0] for error in said] == ["line 4", "line 5", "line 6"]
    assert "that of m is none" in said[0]
    assert "that of m is 7" in said[1]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"question,score\nhi,1\n", "no column `prompt`"),
        (b"", "no column `prompt`"),
        (b"prompt,scores.m\n\xe4rger,1\n", "not UTF-8"),
    ],
)
def test_csv_that_is_none_is_refused_with_a_sentence(tmp_path: Path, text: bytes, why: str) -> None:
    with pytest.raises(DataError, match=why):
        csv_rows(tmp_path, text)


def test_a_list_of_rows_on_one_line_says_what_to_do() -> None:
    row = parse(b'[{"id": 1, "prompt": "hi"}]', 1)
    assert isinstance(row, BadRow)
    assert "one object a line" in row.error
