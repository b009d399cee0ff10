"""A model nobody has seen: fitted by one command, named in the configuration, reloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from sidecar.app import load
from sidecar.cli import main
from sidecar.errors import ConfigError
from tests.conftest import Start, config_for
from tests.support.raw_upstream import RawUpstream


@pytest.fixture
def fitted(tmp_path: Path) -> Path:
    rows = [
        {
            "id": i,
            "prompt": f"Prove lemma {i} of topology." if i % 2 else f"Say hello {i} times.",
            "scores": {"house-model": 1.0 - i % 2},
        }
        for i in range(120)
    ]
    scored = tmp_path / "scored.jsonl"
    scored.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "fitted.json"
    assert main(["fit", str(scored), "--model", "house-model", "--output", str(out)]) == 0
    return out


def using(url: str, abilities: str | None = "fitted.json") -> dict[str, Any]:
    config: dict[str, Any] = config_for(url)
    if abilities:
        config["abilities"] = abilities
    config["models"]["small"]["ability"] = "house-model"
    return config


async def test_a_fitted_model_is_routed_after_a_reload_without_a_restart(
    start: Start, upstream: RawUpstream, fitted: Path
) -> None:
    sidecar = await start(config_for(upstream.url), classifier=None)
    file = sidecar.app.runtime.config_file
    file.write_text(yaml.safe_dump(using(upstream.url)))
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{sidecar.admin}/admin/reload") as answer:
            assert answer.status == 200
        body = {"model": "auto", "messages": [{"role": "user", "content": "Say hello 5 times."}]}
        async with session.post(f"{sidecar.admin}/admin/explain", json=body) as answer:
            easy = {c["model"]: c["probability"] for c in (await answer.json())["candidates"]}
        body["messages"] = [{"role": "user", "content": "Prove lemma 7 of topology."}]
        async with session.post(f"{sidecar.admin}/admin/explain", json=body) as answer:
            hard = {c["model"]: c["probability"] for c in (await answer.json())["candidates"]}
    assert easy["small"] > hard["small"] + 0.3  # what the rows said of it


def test_an_abilities_file_that_is_none_is_a_fault(upstream: RawUpstream, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    for name, text in (("gone.json", None), ("bad.json", "[]")):
        if text is not None:
            (tmp_path / name).write_text(text)
        file.write_text(yaml.safe_dump(using(upstream.url, name)))
        with pytest.raises(ConfigError, match=r"abilities: .*" + name):
            load(file)
    file.write_text(yaml.safe_dump(using(upstream.url, None)))
    with pytest.raises(ConfigError, match="house-model"):
        load(file)
