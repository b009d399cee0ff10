"""What the chart, the images and the documentation say of each other is true."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from sidecar.cli import parser
from sidecar.inject.settings import Settings
from tests.deploy.conftest import ROOT, Render, only
from tests.deploy.test_chart import CHART, GPU, TRITON

IMAGES = (ROOT / "Dockerfile.gpu").read_text()
START = (ROOT / "deploy" / "triton" / "start.sh").read_text()
DOCS = ROOT / "docs" / "kubernetes.md"
BLOCKS = re.findall(r"```sh\n(.*?)```", DOCS.read_text(), re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.strip()]


def test_the_sidecars_image_starts_the_command_as_the_user_that_pods_ask_for() -> None:
    stage = IMAGES.split(" AS sidecar\n")[1].split("\nFROM ")[0]
    assert re.search(r'ENTRYPOINT \["[^"]*/sidecar"\]', stage)  # the container gives only args
    assert f"USER {Settings().run_as_user}:" in stage


def test_the_sidecars_image_has_what_the_webhook_needs() -> None:
    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", IMAGES)
    assert "inject" in extras.split(",")


def test_triton_may_write_where_its_start_script_does(chart: Render) -> None:
    (container,) = only(chart(GPU), "Deployment", TRITON)["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each["value"] for each in container["env"]}
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    for name in ("MODELS", "PLANS"):
        assert f"${{{name}:-" in START
        assert env[name] in mounts
    assert env["KIND"] == "gpu"
    stage = IMAGES.split(" AS triton\n")[1]
    user = only(chart(GPU), "Deployment", TRITON)["spec"]["template"]["spec"]["securityContext"]
    assert f"USER {user['runAsUser']}:" in stage


def test_tritons_grace_is_longer_than_its_own_time_to_stop(chart: Render) -> None:
    pod = only(chart(GPU), "Deployment", TRITON)["spec"]["template"]["spec"]
    (timeout,) = re.findall(r"--exit-timeout-secs=(\d+)", START)
    assert pod["terminationGracePeriodSeconds"] > int(timeout)


def test_the_rules_of_the_cluster_are_good(promtool: str) -> None:
    file = CHART / "files" / "cluster-rules.yaml"
    done = subprocess.run(
        [promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    count = sum(len(group["rules"]) for group in yaml.safe_load(file.read_text())["groups"])
    assert f"{count} rules found" in done.stdout


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_documentation_is_one(line: str, kubectl: Path) -> None:
    """Verbs that kubectl knows, commands that parse, files that are there."""
    for command in line.split(" | "):
        words = shlex.split(command)
        for word in words:
            if word.startswith(("deploy/", "docs/")) or word == "Dockerfile.gpu":
                assert (ROOT / word).exists()
        if words[0] == "kubectl":
            # the global option before the verb is for whoever reads a page of commands
            words = [word for word in words[1:] if word not in {"-n", "team-a", "pointsman"}]
            verbs = words[
                : {"create": 3 if "generic" in words else 2, "rollout": 2}.get(words[0], 1)
            ]
            done = subprocess.run(
                [kubectl, *verbs, "--help"], capture_output=True, text=True, check=False
            )
            assert f"kubectl {' '.join(verbs)}" in done.stdout
            known = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)=", done.stdout, re.MULTILINE))
            assert set(re.findall(r" (--[a-z-]+)\b", command)) <= known
        elif words[0].endswith("sidecar"):
            parser([words[1]]).parse_args(words[1:])
        else:
            assert words[0] in {"sed", "docker", "helm", "grep", "curl"}
