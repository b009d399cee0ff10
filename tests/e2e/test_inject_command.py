"""``sidecar inject patch``, and what ``serve`` refuses before it begins."""

from __future__ import annotations

import builtins
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.cli import main
from sidecar.inject.patch import apply
from tests.support import schemas
from tests.support.pods import plain

TEMPLATE = {"metadata": {"labels": {"app": "a"}}, "spec": plain()["spec"]}
SELECTED = {"selector": {"matchLabels": {"app": "a"}}, "template": TEMPLATE}
JOB = {"template": {"spec": {**plain()["spec"], "restartPolicy": "Never"}}}
WORKLOADS: dict[str, dict[str, Any]] = {
    "Pod": plain(),
    "Deployment": {"apiVersion": "apps/v1", "spec": SELECTED},
    "StatefulSet": {"apiVersion": "apps/v1", "spec": {**SELECTED, "serviceName": "a"}},
    "DaemonSet": {"apiVersion": "apps/v1", "spec": SELECTED},
    "Job": {"apiVersion": "batch/v1", "spec": JOB},
    "CronJob": {
        "apiVersion": "batch/v1",
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": JOB}},
    },
}


def written(folder: Path, value: Any) -> str:
    file = folder / "pod.yaml"
    file.write_text(value if isinstance(value, str) else yaml.safe_dump(value))
    return str(file)


def workload(kind: str) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "a", "namespace": "team"}, **WORKLOADS[kind]}


@pytest.mark.parametrize("kind", WORKLOADS)
def test_the_patch_of_what_makes_pods_applies_to_it(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = workload(kind)
    file = written(tmp_path, whole)
    assert main(["inject", "patch", file]) == 0
    operations = json.loads(capsys.readouterr().out)
    assert operations
    after = apply(whole, operations)
    assert schemas.faults(after, schemas.NEWEST) == []
    assert main(["inject", "patch", file, "--yaml"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == after
    (tmp_path / "again").mkdir()
    assert main(["inject", "patch", written(tmp_path / "again", after)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == []
    assert "not injected: It has the sidecar." in said.err


def test_the_diff_shows_what_is_added_and_takes_nothing_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inject", "patch", written(tmp_path, plain()), "--diff"]) == 0
    lines = capsys.readouterr().out.splitlines()
    added = [line for line in lines if line.startswith("+") and not line.startswith("+++")]
    assert "+    - name: OPENAI_BASE_URL" in added
    assert "+    restartPolicy: Always" in added
    taken = [line for line in lines if line.startswith("-") and not line.startswith("---")]
    assert taken == []


def test_of_a_file_with_several_objects_those_that_make_pods_are_patched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A team's whole namespace in one file, as docs/kubernetes.md has it shown."""
    example = Path(__file__).parents[2] / "deploy" / "manifests" / "example-app.yaml"
    before = list(yaml.safe_load_all(example.read_text()))
    assert main(["inject", "patch", str(example)]) == 0
    patches = {each["object"]: each["patch"] for each in json.loads(capsys.readouterr().out)}
    assert patches.keys() == {"Deployment/assistant", "Job/nightly-summaries"}
    assert main(["inject", "patch", str(example), "--yaml"]) == 0
    after = list(yaml.safe_load_all(capsys.readouterr().out))
    for old, new in zip(before, after, strict=True):
        name = f"{old['kind']}/{old['metadata']['name']}"
        assert new == (apply(old, patches[name]) if name in patches else old)
    assert main(["inject", "patch", str(example), "--diff"]) == 0
    diff = capsys.readouterr().out
    assert diff.count("+++ ") == 2
    assert f"{example} Job/nightly-summaries (injected)" in diff
    # and as `kubectl get -o yaml` lists them
    listed = written(tmp_path, {"apiVersion": "v1", "kind": "List", "items": before})
    assert main(["inject", "patch", listed]) == 0
    assert {
        each["object"]: each["patch"] for each in json.loads(capsys.readouterr().out)
    } == patches


def test_settings_and_namespace_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("image: registry.example/mine:2\n")
    file = written(tmp_path, plain())
    assert main(["inject", "patch", file, "--settings", str(settings)]) == 0
    assert "registry.example/mine:2" in capsys.readouterr().out
    assert main(["inject", "patch", file, "--namespace", "kube-system"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == []
    assert "kube-system is a namespace of the cluster's own" in said.err


def test_warnings_are_told_beside_the_patch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pod = plain()
    pod["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "x"}}]
    assert main(["inject", "patch", written(tmp_path, pod)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)
    assert "warning: container app: a base URL from envFrom is overridden" in said.err


def test_a_pod_comes_by_standard_input_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump(plain())))
    assert main(["inject", "patch", "-"]) == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: ConfigMap\n", "kind 'ConfigMap' has no pod"),
        ("a: [\n", "is not YAML"),
        ("", "there is no object in it"),
        ("kind: List\nitems: []\n", "there is no object in it"),
        ("kind: Pod\n---\n7\n", "has something that is not an object"),
        ("- kind: Pod\n", "has something that is not an object"),
        ("kind: Secret\n---\nkind: ConfigMap\n", "kind 'Secret', 'ConfigMap' has no pod"),
        ("kind: Pod\n---\nkind: Pod\n", "Pod/?: warning: not injected: metadata"),
        ("kind: Deployment\nspec: {template: 7}\n", "not injected: the pod is not an object"),
        ("kind: Pod\nmetadata: 5\n", "not injected: metadata is not an object"),
    ],
)
def test_what_is_no_pod_is_a_sentence(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["inject", "patch", written(tmp_path, text)])
    told = capsys.readouterr()
    assert said in told.err
    assert "Traceback" not in told.err
    assert status == (0 if "not injected" in said else 1)


def test_a_file_that_is_not_there_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inject", "patch", "no-such-file.yaml"]) == 1
    assert "no-such-file.yaml: cannot be read" in capsys.readouterr().err


def test_bad_settings_exit_2_with_their_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("port: 80\n")
    file = written(tmp_path, plain())
    assert main(["inject", "patch", file, "--settings", str(settings)]) == 2
    assert f"{settings}:1: port: " in capsys.readouterr().err


def test_self_signed_asks_for_all_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inject", "serve", "--tls-dir", str(tmp_path), "--self-signed"]) == 1
    said = capsys.readouterr().err
    for option in ("--secret", "--webhook", "--dns", "--namespace"):
        assert option in said


def test_without_its_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "jsonpatch":
            raise ImportError(name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert main(["inject", "patch", written(tmp_path, plain())]) == 1
    assert "pip install 'pointsman[inject]'" in capsys.readouterr().err
