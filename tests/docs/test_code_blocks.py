"""What the documents tell people to type is something that works.

Every fenced block of the README and of ``docs/`` is read. Commands are parsed by the
parsers that would run them, configuration is checked by the loader that would load it,
Python is run against a sidecar. A block of a kind that nothing here knows is a fault.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from sidecar.cli import parser
from sidecar.config import loader
from sidecar.config.schema import Config
from sidecar.demo.mock import MockUpstream
from sidecar.demo.roster import MockModel
from sidecar.encoder.abilities import Catalogue
from sidecar.encoder.bundle import Bundle
from sidecar.load import plan as slo
from tests.conftest import Start, config_for
from tests.support.raw_upstream import MESSAGE, RawUpstream, answer

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Programs that are not ours: what they are told is tested where they are used.
OTHERS = {
    *("cp", "export", "pip", "curl", "cat", "kubectl", "helm", "docker", "git", "cd", "ls"),
    *("openssl", "echo", "jq", "promtool", "tail", "kill", "apt-get", "set", "watch", "mkdir"),
    *("sed", "grep", "sort", "head", "chmod", "sudo", "tritonserver", "deploy/triton/start.sh"),
}


@dataclass(frozen=True)
class Block:
    file: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def blocks(file: Path) -> Iterator[Block]:
    inside: list[str] | None = None
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"\s*```(\S*)", line)
        if fence and inside is None:
            inside, language, began = [], fence[1], number
        elif fence and inside is not None:
            yield Block(file, began, language, textwrap.dedent("\n".join(inside)))
            inside = None
        elif inside is not None:
            inside.append(line)
    assert inside is None, f"{file} ends inside a block"


ALL = [block for file in DOCUMENTS for block in blocks(file)]


def of(*languages: str) -> list[Block]:
    return [block for block in ALL if block.language in languages]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.of(Bundle.load())


def test_no_block_is_only_indented_where_nothing_would_read_it() -> None:
    found = []
    for file in DOCUMENTS:
        text = re.sub(r"^\s*```.*?^\s*```$", "", file.read_text("utf-8"), flags=re.M | re.S)
        found += re.findall(r"(?:\A|\n\n)(    \S.*)", text)
    assert found == []


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    known = {"sh", "bash", "yaml", "json", "python", "", "text", "console", "promql"}
    assert [str(b) for b in ALL if b.language not in known] == []


def commands(block: Block) -> Iterator[list[str]]:
    text = re.sub(r"\\\n\s*", " ", block.text)
    if block.language == "console":  # with what is seen: only the typed lines
        text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
    text = re.sub(r"<<'?(\w+)'?\n.*?\n\1(\n|$)", "\n", text, flags=re.DOTALL)
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        for separator in ("|", "&&", ";"):
            while separator in words:
                at = words.index(separator)
                yield words[:at]
                words = words[at + 1 :]
        if words:
            yield words


@pytest.mark.parametrize("block", of("sh", "bash", "console"), ids=str)
def test_what_is_typed_is_understood(block: Block) -> None:
    makefile = (ROOT / "Makefile").read_text() + (ROOT / "distill" / "train.mk").read_text()
    for line in commands(block):
        # variables that are set for the command stand before it
        words = list(itertools.dropwhile(lambda w: re.match(r"^[A-Z_]+=", w), line))
        if not words:
            continue
        program, rest = Path(words[0]).name, words[1:]
        rest = [w for w in rest if w not in {">", ">>", "<", "&", "2>&1"}]
        if program == "make":
            for target in (w for w in rest if "=" not in w and not w.startswith("-")):
                assert re.search(rf"^{re.escape(target)}:", makefile, re.M), f"make {target}"
        elif program == "sidecar":
            parser([rest[0]]).parse_args([w for w in rest if w != "..."])
        elif program in {"python", "python3"} and rest[:1] == ["-m"]:
            module = ROOT / Path(*rest[1].split("."))
            assert module.with_suffix(".py").exists() or module.is_dir() or rest[1] == "pytest"
        else:
            assert program in OTHERS, f"{block}: what is {program}?"


# a page of a policy is run whole, with the files it names, by tests/e2e/test_policy_pages.py
CONFIGURED = [block for block in of("yaml") if block.file.parent.name != "policies"]


@pytest.mark.parametrize("block", CONFIGURED, ids=str)
def test_what_is_configured_is_good(block: Block, tmp_path: Path, catalogue: Catalogue) -> None:
    documents = [d for d in yaml.safe_load_all(block.text) if d is not None]
    for document in documents:
        assert isinstance(document, dict), f"{block}: not a mapping"
        if "apiVersion" in document or "seriesQuery" in str(document):
            continue  # Kubernetes objects are checked against its schemas; adapters are not ours
        file = tmp_path / "file.yaml"
        if "objectives" in document:
            file.write_text(yaml.safe_dump(document))
            slo.load(file)
            continue
        assert set(document) <= set(Config.model_fields), f"{block}: a part of what?"
        base: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "sidecar.yaml").read_text())
        whole = {**base, **document}
        for section in ("upstreams", "models"):  # a fragment adds to what is there
            whole[section] = {**base[section], **document.get(section, {})}
        file.write_text(yaml.safe_dump(whole))
        (tmp_path / "abilities.json").write_text(fitted(catalogue))
        (tmp_path / "common.jsonl").write_text('{"prompt": "hi"}\n')
        loader.load(file, catalogue, env={})


def fitted(catalogue: Catalogue) -> str:
    """What ``sidecar fit --model my-model`` leaves behind."""
    model = {"a": [0.1] * catalogue.demand, "b": 0.5, "strength": 0.6, "rows": 200}
    return json.dumps({"format": 1, "encoder": catalogue.encoder, "models": {"my-model": model}})


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_what_is_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", of("python"), ids=str)
async def test_what_is_python_runs_against_a_sidecar(
    block: Block, start: Start, tmp_path: Path, upstream: RawUpstream
) -> None:
    models = [MockModel("tiny-1"), MockModel("huge-1")]
    async with MockUpstream(models, speed=0) as mock:
        config: dict[str, Any] = config_for(mock.url)
        if "from anthropic" in block.text:  # which APIs models speak is their upstream's
            upstream.script = answer(orjson.dumps(MESSAGE))
            config = config_for(upstream.url)
            for each in config["upstreams"].values():
                each["dialect"] = "anthropic"
        sidecar = await start(config)
        script = tmp_path / "block.py"
        here = sidecar.url.removesuffix("/v1")
        script.write_text(block.text.replace("http://127.0.0.1:8080", here))
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(script), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        async with asyncio.timeout(90):
            out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        assert mock.served or upstream.seen


def test_the_files_that_documents_link_to_are_there() -> None:
    missing = []
    for file in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8")):
            if "://" not in target and not (file.parent / target).exists():
                missing.append(f"{file.relative_to(ROOT)}: {target}")
    assert missing == []
