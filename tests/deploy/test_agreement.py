"""What the chart, the images and the documentation say of each other is true."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from sidecar.cli import main, parser
from sidecar.inject.settings import Settings
from tests.deploy.conftest import ROOT, Render, only
from tests.deploy.values import GPU, TRITON

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
    built = IMAGES.split(" AS triton\n")[0]  # what follows installs for other images
    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", built)
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


def test_what_needs_no_cluster_does_what_the_page_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patch that is shown beforehand, and the manifests with one's own image."""
    monkeypatch.chdir(ROOT)
    (shown,) = (line for line in COMMANDS if "patch deploy/" in line)
    assert main(shlex.split(shown)[1:]) == 0
    diff = capsys.readouterr().out
    assert "+        - name: pointsman" in diff
    assert not [line for line in diff.splitlines() if re.match(r"-(?!-- )", line)]
    (replaced,) = (line.split(" | ")[0] for line in COMMANDS if line.startswith("sed "))
    done = subprocess.run(shlex.split(replaced), capture_output=True, text=True, check=True)
    images = re.findall(r"image: (\S+)", done.stdout)
    assert len(images) == 2  # the webhook's own, and the one that it injects
    assert {each.strip('"') for each in images} == {"REGISTRY/pointsman/sidecar:0.1.0"}


def test_what_takes_a_cluster_to_see_is_not_shown_as_seen() -> None:
    shown = re.findall(r"```sh\n(.*?)```\n\n```\n(.*?)```", DOCS.read_text(), re.DOTALL)
    asked = [output for commands, output in shown if "kubectl" in commands]
    assert len(asked) >= 4
    assert [output for output in asked if not output.startswith("# expected")] == []


def test_every_path_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`((?:deploy|docs|tests)/[\w./-]+)`", DOCS.read_text()))
    named |= {f"docs/{link}" for link in re.findall(r"\]\(([\w./-]+\.md)", DOCS.read_text())}
    assert len(named) > 6
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_the_page_speaks_of_objects_and_ports_that_are_rendered(chart: Render) -> None:
    """The names that a person types: of the manifests, which is all that they need have."""
    text = DOCS.read_text()
    made = {(each["kind"].lower(), each["metadata"]["name"]) for each in chart()}
    for kind, name in re.findall(
        r"kubectl [^`\n]*?(deployment|mutatingwebhookconfiguration)[/ ]([\w-]+)", text
    ):
        if name not in {"deployment", "-o"}:
            assert (kind, name) in made, name
    example = list(yaml.safe_load_all((ROOT / "deploy/manifests/example-app.yaml").read_text()))
    names = {(each["kind"], each["metadata"]["name"]) for each in example}
    assert {
        ("Namespace", "team-a"),
        ("ConfigMap", "pointsman"),
        ("Secret", "pointsman-keys"),
    } <= names
    containers = [
        container["name"]
        for each in example
        if each["kind"] == "Deployment"
        for container in each["spec"]["template"]["spec"]["containers"]
    ]
    assert "app" in containers  # of `exec POD -c app`
