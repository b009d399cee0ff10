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
