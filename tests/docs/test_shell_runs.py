"""What the documents tell people to type is typed: a page's blocks, in its order, in a folder.

A page's commands run in one shell in a temporary folder that holds what a reader would have
by then: a configuration, scored prompts, a sidecar that answers on 127.0.0.1. What cannot run
here is listed with the reason, and a command that is neither run nor listed is a fault.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from sidecar.demo.mock import MockUpstream
from sidecar.demo.roster import MockModel
from sidecar.load.plan import Plan
from tests.conftest import Running, Start, config_for
from tests.docs.test_code_blocks import DOCUMENTS, ROOT, Block, blocks
from tests.support.kubelet import free_ports
from tests.support.wire import chat, exchange, post
from tests.unit.offline.conftest import scored, write

LIMIT_S: Final = 240.0  # of a page, on a busy machine
# What a line holds that cannot run here, and why.
ELSEWHERE: Final = {
    r"\bdocker (build|run|push)\b": "needs a Docker daemon, the network and, to run, a GPU; "
    "tests/deploy/test_images.py reads the file that is built",
    r"\bkubectl\b": "needs a cluster; tests/deploy/ holds what is applied to Kubernetes' schemas",
    r"\bhelm install\b": "needs a cluster; tests/deploy/test_chart.py renders the chart",
    r"\bpip install\b": "installs packages over the network",
    r"^make demo\b": "sets up and runs the demo, which tests/e2e/test_demo.py runs",
    r"^make test\b": "runs this very test",
    r"^make numbers\b": "measures for two hours",
    r"bench\.numbers --skip": "measures for an hour",
    r"bench\.gpu\b": "needs a GPU",
    r"tests\.fuzz\.": "runs for hours; tests/fuzz replays the corpora",
}
SHELL: Final = """
set -euo pipefail
export PATH="$PWD/.venv/bin:$PATH" ORT_DISABLE_TELEMETRY=1 PYTHONPATH="$PWD"
curl() { command curl -sS --fail-with-body --max-time 30 "$@"; }
"""
# A server that is started is waited for, asked, and ended as an operator would.
SERVED: Final = """{line} & server=$!
for _ in $(seq 300); do curl {admin}/readyz >/dev/null 2>&1 && break; sleep 0.2; done
curl {admin}/readyz
kill -TERM $server; wait $server"""


def lines(block: Block) -> list[str]:
    """The block's commands, without comments: a line each, continued ones joined."""
    text = re.sub(r"\\\n\s*", " ", block.text)
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def typed(file: Path) -> list[str]:
    return [line for b in blocks(file) if b.language in {"sh", "bash"} for line in lines(b)]


def elsewhere(line: str) -> str | None:
    return next((why for what, why in ELSEWHERE.items() if re.search(what, line)), None)


PAGES: Final = [file for file in DOCUMENTS if any(not elsewhere(line) for line in typed(file))]


def test_everything_that_is_said_not_to_run_here_is_there() -> None:
    every = [line for file in DOCUMENTS for line in typed(file)]
    for what, why in ELSEWHERE.items():
        assert any(re.search(what, line) for line in every), f"nobody types {what}: {why}"
    assert len(PAGES) >= 11


def scores(file: Path, count: int) -> Path:
    """Scored prompts, by every name that a page gives a weak or a strong model."""
    weak = ("my-model", "gpt-4o-mini", "llama-3.1-8b-instruct", "small")
    strong = ("gpt-4o", "large")
    rows = scored(count)
    for row in rows:
        each = row["scores"]
        assert isinstance(each, dict)
        tiny, huge = each["tiny"], each["huge"]
        row["scores"] = dict.fromkeys(weak, tiny) | dict.fromkeys(strong, huge)
        row["tier"] = ("simple", "moderate", "complex")[len(str(row["prompt"])) % 3]
    return write(file, rows)


def prepare(folder: Path, page: Path, ports: dict[str, str]) -> None:
    """What a reader of this page has."""
    (folder / ".venv").symlink_to(ROOT / ".venv")
    for name in ("deploy", "bench", "sidecar"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "docs").mkdir()
    example = (ROOT / "docs" / "sidecar.yaml").read_text("utf-8")
    for there in ("127.0.0.1:8080", "127.0.0.1:9090"):
        example = example.replace(there, ports[there])
    (folder / "docs" / "sidecar.yaml").write_text(example)
    (folder / "sidecar.yaml").write_text(example)
    (folder / "deployment.yaml").symlink_to(ROOT / "deploy" / "manifests" / "example-app.yaml")
    scores(folder / "scored.jsonl", 240)
    known = ({"prompt": f"hello {n}", "label": "easy"} for n in range(20))
    hard = ({"prompt": f"prove theorem {n} of the book", "label": "hard"} for n in range(20))
    write(folder / "known.jsonl", [*known, *hard])
    for block in blocks(page):
        said = yaml.safe_load(block.text) if block.language == "yaml" else None
        if isinstance(said, dict) and "objectives" in said:
            said["load"] = {"rate": 5, "duration_s": 1, "rounds": 1, "warm_up": 1}
            said["target"]["url"] = said["target"]["url"].replace("127.0.0.1:8080", ports["app"])
            Plan.model_validate(said)
            (folder / "slo.yaml").write_text(yaml.safe_dump(said))
        elif isinstance(said, dict) and page.parent.name == "policies" and "routes" in said:
            # the library that it may name is another page's
            said["routes"]["auto"].pop("similarity", None)
            (folder / "sidecar.yaml").write_text(yaml.safe_dump(said))


def script(page: Path, ports: dict[str, str], request_id: str) -> str:
    """The page's commands as one script that ends at the first that fails."""
    done = [SHELL]
    for line in typed(page):
        if elsewhere(line):
            continue
        command = line.partition("  #")[0].replace("req_...", request_id)
        if re.search(r"\bsidecar serve\b", command):
            admin = f"http://{ports['127.0.0.1:9090']}"
            done.append(SERVED.format(line=command, admin=admin))
            continue
        command = command.replace("127.0.0.1:9090", ports["admin"])
        command = command.replace("127.0.0.1:8080", ports["app"])
        # a machine that is busy may miss an objective: 1 is an answer too
        done.append(f"{{ {command}; }} || [ $? -eq 1 ]" if "--slo" in command else command)
    return "\n".join(done) + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
async def test_what_a_page_tells_to_type_works(page: Path, start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    first = free_ports()
    listen, admin = f"127.0.0.1:{first}", f"127.0.0.1:{first + 1}"
    async with MockUpstream([MockModel("tiny-1"), MockModel("huge-1")], speed=0) as mock:
        config: dict[str, Any] = config_for(mock.url)
        sidecar: Running = await start({**config, "learning": {}})
        reply = await exchange(sidecar.app.listen, post(chat()))
        ports = {
            "127.0.0.1:8080": listen,  # of the server that a page starts
            "127.0.0.1:9090": admin,
            "app": sidecar.app.listen,  # of the one that answers
            "admin": sidecar.app.admin,
        }
        prepare(folder, page, ports)
        text = script(page, ports, reply.header("x-router-request-id")[0])
        shell = await asyncio.create_subprocess_exec(
            "bash", "-c", text,
            cwd=folder,
            env={**os.environ, "OPENAI_API_KEY": "none"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            out, _ = await asyncio.wait_for(shell.communicate(), LIMIT_S)
        finally:
            if shell.returncode is None:
                os.killpg(shell.pid, 9)
    assert shell.returncode == 0, f"{text}\n{out.decode()}"
    assert "Traceback" not in out.decode()
