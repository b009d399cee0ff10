"""Each policy's page has a configuration that decides alike in simulation and in service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from sidecar.cli import main
from sidecar.config import schema
from sidecar.offline.simulate_setup import prepare, study
from tests.conftest import Start
from tests.support.raw_upstream import RawUpstream
from tests.support.wire import exchange, post
from tests.unit.offline.conftest import scored, write

PAGES = Path(__file__).parents[2] / "docs" / "policies"
POLICIES = get_args(schema.Route.model_fields["policy"].annotation)
NAMES = {"tiny": "llama-3.1-8b-instruct", "huge": "gpt-4o-2024-08-06"}


def rows(n: int, seed: int) -> list[dict[str, Any]]:
    """Scored prompts, by the names of the pages' models."""
    made: list[dict[str, Any]] = []
    for row in scored(n, seed):
        scores = row["scores"]
        assert isinstance(scores, dict)
        made.append(row | {"scores": {NAMES[name]: score for name, score in scores.items()}})
    return made


def config_of(policy: str, url: str) -> dict[str, Any]:
    page = (PAGES / f"{policy}.md").read_text()
    block = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert block is not None, f"{policy}.md has no configuration"
    assert block[1].count("\n") <= 14  # understood at a glance
    config: dict[str, Any] = yaml.safe_load(block[1])
    config["upstreams"]["local"]["base_url"] = url
    if policy == "bandit":  # which draws: from the same seed in both
        config["learning"]["seed"] = 5
    config["classifier"] = {"deadline_ms": 10_000.0}  # a busy machine is not what is tested
    return config


def test_every_policy_has_a_page() -> None:
    assert sorted(page.stem for page in PAGES.glob("*.md")) == sorted(POLICIES)


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_page_decides_alike_in_simulation_and_in_service(
    policy: str,
    start: Start,
    upstream: RawUpstream,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = config_of(policy, upstream.url)
    file = tmp_path / "page.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    if "similarity" in config["routes"]["auto"]:
        known = write(tmp_path / "known.jsonl", rows(60, 1))
        words = ["library", "build", str(known), "--output", f"{tmp_path}/prompts.library"]
        assert main(words) == 0
        assert "60 prompts" in capsys.readouterr().out
    if "ensemble" in config["routes"]["auto"]:
        fitted = write(tmp_path / "fitted.jsonl", rows(80, 2) + rows(5, 1))
        words = ["ensemble", "fit", str(fitted), "--config", str(file)]
        assert main([*words, "--output", f"{tmp_path}/stack.json"]) == 0
        said = capsys.readouterr().out
        assert re.search(r"^[5-9] rows are in the library and were left out$", said, re.MULTILINE)
        assert "held-out AUC" in said

    prompts = write(tmp_path / "prompts.jsonl", rows(14, 3))
    setup = prepare(prompts, file, None, where={})
    offline = study(setup)
    played = offline.play(offline.route)
    if policy != "fixed":
        assert set(played.chosen) == {"small", "large"}  # the prompts tell something

    sidecar = await start(config, classifier=None)
    served = []
    for case in setup.cases:
        reply = await exchange(sidecar.app.listen, post(case.call.body))
        assert reply.status == 200
        served.append(reply.header("x-router-model")[0])
    assert tuple(served) == played.chosen
