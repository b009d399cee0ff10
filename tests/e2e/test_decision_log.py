"""One line a request, without a word of it, and a report that reads the lines."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sidecar.cli import main
from sidecar.observe.decision_log import FileSink
from tests.conftest import Running, Start, config_for
from tests.support.raw_upstream import RawUpstream, answer, raw, stream

WORD = "confidential-word"


async def ask(sidecar: Running, model: str = "auto", **headers: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": WORD}]}
    fields = {"x-router-tenant": "acme", "Authorization": "Bearer app-key", **headers}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{sidecar.url}/chat/completions", json=body, headers=fields) as response,
    ):
        await response.read()
        return response.status


async def logged(sidecar: Running, file: Path) -> list[dict[str, Any]]:
    assert sidecar.app.runtime.decisions is not None
    await sidecar.app.runtime.decisions.close()
    text = file.read_text()
    assert WORD not in text
    assert "app-key" not in text
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "decisions.jsonl"


async def test_an_answer_is_one_line_with_its_price(
    start: Start, upstream: RawUpstream, file: Path
) -> None:
    sidecar = await start({**config_for(upstream.url), "decision_log": {"file": str(file)}})
    assert await ask(sidecar) == 200
    (row,) = await logged(sidecar, file)
    assert row["decided"] == row["model"] == "small"
    assert row["reason"] == "policy"
    assert row["tenant"] == "acme"
    assert row["ended"] == "complete"
    assert row["tokens"] == {"input": 11, "cached": None, "output": 7, "reasoning": None}
    assert row["cost_usd"] == pytest.approx((11 * 0.07 + 7 * 0.07) / 1e6)
    assert row["strong"] == "large"
    assert row["cost_strong_usd"] == pytest.approx((11 * 2.5 + 7 * 10) / 1e6)
    assert {c["model"] for c in row["candidates"]} == {"small", "large"}


async def test_a_fallback_a_failure_and_a_hang_up_have_their_lines(
    start: Start, upstream: RawUpstream, second: RawUpstream, file: Path
) -> None:
    config = {**config_for(upstream.url, second.url), "decision_log": {"file": str(file)}}
    sidecar = await start(config)
    upstream.script = raw()  # closes without a word
    assert await ask(sidecar) == 200
    assert await ask(sidecar, model="small") == 502
    upstream.script = stream(30.0)
    upstream.asked.clear()
    asking = asyncio.ensure_future(ask(sidecar, model="small"))
    await asyncio.wait_for(upstream.asked.wait(), 5)
    asking.cancel()
    await asyncio.wait_for(upstream.gone.wait(), 5)
    fell, failed, left = await logged(sidecar, file)
    assert (fell["decided"], fell["model"], fell["answered"]) == ("small", "large", "fallback:1")
    assert [f["model"] for f in fell["failed"]] == ["small"]
    assert (failed["ended"], failed["status"]) == ("failed", 502)
    assert left["ended"] == "hang-up"
    assert left["cost_usd"] is None  # unknown is unknown


async def test_the_report_sums_the_log_and_counts_against_the_savings(
    start: Start,
    upstream: RawUpstream,
    second: RawUpstream,
    file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = {**config_for(upstream.url, second.url), "decision_log": {"file": str(file)}}
    sidecar = await start(config)
    assert await ask(sidecar) == 200
    upstream.script = answer(b"{}", "503 Service Unavailable")
    assert await ask(sidecar) == 200
    rows = await logged(sidecar, file)
    with file.open("a") as log:
        log.write("not a line of a log\n")
    assert main(["report", str(file), "--json", "--router-usd-per-hour", "3600"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["requests"] == 2
    assert report["bad_lines"] == 1
    assert report["fallbacks"] == 1
    assert report["cost_usd"] == pytest.approx(sum(r["cost_usd"] for r in rows), abs=1e-6)
    expected = next(c["cost_usd"] for c in rows[1]["candidates"] if c["model"] == "small")
    assert report["retries_usd"] == pytest.approx(expected, abs=1e-6)
    assert report["router_usd"] > 0
    assert report["saved_usd"] == pytest.approx(
        report["cost_strong_usd"]
        - report["cost_usd"]
        - report["retries_usd"]
        - report["router_usd"],
        abs=1e-5,
    )
    assert report["tenants"]["acme"]["requests"] == 2
    assert main(["report", str(file)]) == 0
    assert "always strong" in capsys.readouterr().out


async def test_a_tenant_that_looks_like_markup_is_shown_as_it_is(
    start: Start, upstream: RawUpstream, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sidecar = await start({**config_for(upstream.url), "decision_log": {"file": str(file)}})
    for tenant in ("[/bold]", "[red]team", "a[0]"):
        assert await ask(sidecar, **{"x-router-tenant": tenant}) == 200
    await logged(sidecar, file)
    assert main(["report", str(file)]) == 0
    told = capsys.readouterr().out
    rows = [line.split()[0] for line in told.partition("tenants")[2].splitlines() if line.strip()]
    assert {"[/bold]", "[red]team", "a[0]"} <= set(rows)
    assert max(map(len, told.splitlines())) > 80  # a pipe has no width: each line is whole


def test_a_report_of_nothing_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").touch()
    assert main(["report", str(tmp_path / "empty")]) == 1
    assert "decision_log.file" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "none")]) == 1
    assert "Cannot read" in capsys.readouterr().err


async def test_the_log_is_rotated_and_loses_no_line(file: Path) -> None:
    sink = FileSink(str(file), max_bytes=1000, keep=20)
    for number in range(100):
        sink.write(f"{number:>50}".encode())
        if number % 10 == 9:
            await sink._flush()
    await sink.close()
    files = [file, *(file.with_name(f"{file.name}.{n}") for n in range(1, 20))]
    lines = [line for f in files if f.exists() for line in f.read_text().splitlines()]
    assert sorted(int(line) for line in lines) == list(range(100))
    assert file.stat().st_size <= 1000


async def test_a_log_that_cannot_be_written_stops_the_start_and_names_it(
    start: Start, upstream: RawUpstream, tmp_path: Path
) -> None:
    config = {
        **config_for(upstream.url),
        "decision_log": {"file": str(tmp_path / "nowhere" / "log")},
    }
    with pytest.raises(Exception, match=r"decision_log\.file"):
        await start(config)
