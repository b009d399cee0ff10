"""The plain manifests: as the chart renders them now, and an example that works with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from deploy import render
from sidecar.cli import main
from sidecar.inject.patch import apply, inject
from sidecar.inject.settings import Settings
from tests.deploy.conftest import ROOT, Manifest, only, run
from tests.deploy.values import FOREIGN, holds
from tests.support import schemas
from tests.support.pods import all_pods

FOLDER = ROOT / "deploy" / "manifests"
EXAMPLE = FOLDER / "example-app.yaml"


def objects(file: Path) -> list[Manifest]:
    return [each for each in yaml.safe_load_all(file.read_text()) if each]


@pytest.mark.parametrize("name", render.MANIFESTS)
def test_the_manifests_are_what_the_chart_renders_now(helm: Path, name: str) -> None:
    assert (FOLDER / name).read_text() == render.manifest(helm, name), "type: make manifests"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.name)
def test_every_object_of_the_manifests_is_valid(file: Path) -> None:
    for version in (schemas.OLDEST, schemas.NEWEST):
        for each in objects(file):
            if (each["apiVersion"], each["kind"]) not in FOREIGN:
                assert schemas.faults(each, version) == []
            assert "helm" not in json.dumps(each).lower()


def test_the_namespace_is_made_before_what_is_in_it() -> None:
    kinds = [each["kind"] for each in objects(FOLDER / "install.yaml")]
    assert kinds[0] == "Namespace"


def test_the_examples_configuration_passes_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = only(objects(EXAMPLE), "Secret")["stringData"]
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "sidecar.yaml"
    text = only(objects(EXAMPLE), "ConfigMap")["data"]["sidecar.yaml"]
    file.write_text(text)
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().err == ""
    # and with the GPU pool, as its comments say
    gpu = (
        text.replace("backend: auto", "")
        .replace("# backend", "backend")
        .replace("# triton", "triton")
    )
    file.write_text(gpu)
    assert main(["check", str(file)]) == 0


def test_the_example_is_injected_with_its_one_label() -> None:
    made = objects(EXAMPLE)
    namespace = only(made, "Namespace")["metadata"]
    labels = {**namespace["labels"], "kubernetes.io/metadata.name": namespace["name"]}
    hooks = only(objects(FOLDER / "install.yaml"), "MutatingWebhookConfiguration")["webhooks"]
    for kind in ("Deployment", "Job"):
        workload = only(made, kind)
        template = workload["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        pod.setdefault("metadata", {})["generateName"] = "x-"
        asked = [
            hook
            for hook in hooks
            if holds(hook["namespaceSelector"]["matchExpressions"], labels)
            and holds(hook["objectSelector"]["matchExpressions"], pod["metadata"].get("labels", {}))
        ]
        assert len(asked) == 1
        injection = inject(pod, namespace["name"], Settings())
        assert (injection.reason, injection.warnings) == ("injected", ())
        after = apply(pod, injection.operations)
        assert schemas.faults(after, schemas.NEWEST) == []
        (sidecar,) = after["spec"]["initContainers"]
        assert (
            sidecar["envFrom"][0]["secretRef"]["name"] == only(made, "Secret")["metadata"]["name"]
        )
        names = {volume["configMap"]["name"] for volume in after["spec"]["volumes"]}
        assert names == {only(made, "ConfigMap")["metadata"]["name"]}


def test_the_gpu_pool_is_where_the_example_says(helm: Path) -> None:
    service = only(objects(FOLDER / "install-gpu.yaml"), "Service", "pointsman-triton")
    name = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    (port,) = (each["port"] for each in service["spec"]["ports"] if each["name"] == "grpc")
    assert f"url: {name}:{port}" in EXAMPLE.read_text()


def test_kubernetes_own_json_patch_gives_the_same_pod(kubectl: Path, tmp_path: Path) -> None:
    """``kubectl patch --local`` applies a patch with the code that the API server has."""
    for number, pod in enumerate(all_pods(1)):
        pod["metadata"].setdefault("name", f"pod-{number}")
        operations = inject(pod, "team", Settings()).operations
        file = tmp_path / f"{number}.json"
        file.write_bytes(orjson.dumps(pod))
        said = run(
            kubectl, "patch", "--local", "-f", file, "--type=json", "-o", "json",
            "-p", orjson.dumps(operations).decode(),
        )  # fmt: skip
        assert without_empty(json.loads(said)) == without_empty(apply(pod, operations))


def without_empty(value: Any) -> Any:
    """Without what kubectl adds or leaves out: nulls, empty objects, a status."""
    if isinstance(value, dict):
        kept = {key: without_empty(each) for key, each in value.items() if key != "status"}
        return {key: each for key, each in kept.items() if each not in (None, {}, [])}
    if isinstance(value, list):
        return [without_empty(each) for each in value]
    return value
