"""The Helm chart and its webhook, rendered by the real helm over a matrix of values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.cli import parser
from sidecar.inject import settings as inject_settings
from sidecar.inject.server import PATH
from sidecar.inject.service import Options
from tests.deploy.conftest import Render, only, run
from tests.deploy.values import (
    CERT_MANAGER,
    CHART,
    FOREIGN,
    MATRIX,
    PROVIDED,
    WEBHOOK,
    holds,
    webhook_of,
)
from tests.support import schemas

WHOLE = {"networkPolicy.monitoring", "webhook.resources", "triton.resources"}


# -- rendering --------------------------------------------------------------------------


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_every_object_is_valid_for_the_oldest_and_the_newest_kubernetes(
    chart: Render, values: dict[str, Any]
) -> None:
    for version in (schemas.OLDEST, schemas.NEWEST):
        objects = chart(values, f"{version}.0")
        seen = set()
        for each in objects:
            where = (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
            assert where not in seen
            seen.add(where)
            assert len(each["metadata"]["name"]) <= 63
            if (each["apiVersion"], each["kind"]) not in FOREIGN:
                assert schemas.faults(each, version) == [], where


def test_what_the_prometheus_operator_reads_is_valid_for_it(chart: Render) -> None:
    objects = chart({**MATRIX["monitoring"]})
    read = [each for each in objects if each["apiVersion"] == schemas.OPERATOR]
    assert sorted(each["kind"] for each in read) == [
        "PodMonitor", "PrometheusRule", "ServiceMonitor", "ServiceMonitor",
    ]  # fmt: skip
    for each in read:
        assert schemas.faults(each, schemas.NEWEST) == [], each["metadata"]["name"]


def test_helm_lint_finds_nothing(helm: Path, tmp_path: Path) -> None:
    for values in MATRIX.values():
        file = tmp_path / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        said = run(helm, "lint", CHART, "--strict", "--values", file)
        assert "0 chart(s) failed" in said
        assert "WARNING" not in said


def test_a_kubernetes_without_native_sidecars_is_refused(chart: Render) -> None:
    with pytest.raises(RuntimeError, match=r"1\.29"):
        chart({}, "1.28.9")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"webhok": {}}, "webhok"),
        ({"webhook": {"replica": 2}}, "replica"),
        ({"webhook": {"replicas": 0}}, "replicas"),
        ({"webhook": {"failurePolicy": "Maybe"}}, "failurePolicy"),
        ({"webhook": {"timeoutSeconds": 31}}, "timeoutSeconds"),
        ({"webhook": {"certificates": {"mode": "magic"}}}, "mode"),
        ({"webhook": {"certificates": {"mode": "provided"}}}, "secret"),
        ({"sidecar": {"port": 80}}, "port"),
        ({"sidecar": {"config": "Not A Name"}}, "config"),
        ({"sidecar": {"resources": {"memoryLimit": "lots"}}}, "memoryLimit"),
        ({"triton": {"gpus": 0}}, "gpus"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_by_name(
    chart: Render, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(RuntimeError, match=said):
        chart(values)


def leaves(value: Any, path: str = "") -> list[str]:
    """The dotted names of all values, down to what is one thing to whoever sets it."""
    if not isinstance(value, dict) or not value or path in WHOLE:
        return [path]
    return [leaf for key in value for leaf in leaves(value[key], f"{path}.{key}".lstrip("."))]


def test_the_readme_has_every_value_and_no_other() -> None:
    values = leaves(yaml.safe_load((CHART / "values.yaml").read_text()))
    table = (CHART / "README.md").read_text().split("\n## ")[0]
    first_cells = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    documented = {name for cell in first_cells for name in re.findall(r"`([A-Za-z.]+)`", cell)}
    assert documented == set(values)


# -- the webhook ------------------------------------------------------------------------


def test_a_pod_starts_without_the_sidecar_rather_than_not_at_all(chart: Render) -> None:
    configuration = only(chart(), "MutatingWebhookConfiguration")
    assert len(configuration["webhooks"]) == 2
    for hook in configuration["webhooks"]:
        assert hook["failurePolicy"] == "Ignore"
        assert hook["timeoutSeconds"] == 3
        assert hook["reinvocationPolicy"] == "IfNeeded"
        assert hook["sideEffects"] == "None"
        assert hook["admissionReviewVersions"] == ["v1"]
        (rule,) = hook["rules"]
        assert (rule["operations"], rule["resources"]) == (["CREATE"], ["pods"])


@pytest.mark.parametrize(
    ("namespace", "pod", "asked"),
    [
        ({}, {}, 0),
        ({"pointsman.dev/inject": "enabled"}, {}, 1),
        ({"pointsman.dev/inject": "true"}, {}, 1),
        ({"pointsman.dev/inject": "enabled"}, {"pointsman.dev/inject": "disabled"}, 0),
        ({"pointsman.dev/inject": "enabled"}, {"pointsman.dev/inject": "false"}, 0),
        ({"pointsman.dev/inject": "enabled"}, {"pointsman.dev/inject": "enabled"}, 1),
        ({}, {"pointsman.dev/inject": "enabled"}, 1),
        ({}, {"pointsman.dev/inject": "true"}, 1),
        ({"pointsman.dev/inject": "disabled"}, {"pointsman.dev/inject": "enabled"}, 0),
        ({"pointsman.dev/inject": "enabled", "kubernetes.io/metadata.name": "kube-system"}, {}, 0),
        ({"pointsman.dev/inject": "enabled", "kubernetes.io/metadata.name": "pointsman"}, {}, 0),
        ({"kubernetes.io/metadata.name": "pointsman"}, {"pointsman.dev/inject": "enabled"}, 0),
    ],
)
def test_one_label_says_whom_the_api_server_asks_about_and_it_asks_once(
    chart: Render, namespace: dict[str, str], pod: dict[str, str], asked: int
) -> None:
    hooks = only(chart(), "MutatingWebhookConfiguration")["webhooks"]
    namespace = {"kubernetes.io/metadata.name": "team-a", **namespace}
    selected = [
        hook["name"]
        for hook in hooks
        if holds(hook["namespaceSelector"]["matchExpressions"], namespace)
        and holds(hook["objectSelector"]["matchExpressions"], pod)
    ]
    assert len(selected) == asked


def test_the_webhook_is_where_the_api_server_asks(chart: Render) -> None:
    objects = chart()
    service = only(objects, "Service", WEBHOOK)
    pod = webhook_of(objects)
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    named = {each["name"]: each["containerPort"] for each in pod["spec"]["containers"][0]["ports"]}
    for hook in only(objects, "MutatingWebhookConfiguration")["webhooks"]:
        client = hook["clientConfig"]["service"]
        assert (client["name"], client["namespace"]) == (WEBHOOK, "pointsman")
        assert client["path"] == PATH
        (port,) = (each for each in service["spec"]["ports"] if each["port"] == client["port"])
        assert named[port["targetPort"]] == 8443


@pytest.mark.parametrize("values", [{}, CERT_MANAGER, PROVIDED])
def test_the_webhooks_command_line_is_one_that_the_command_takes(
    chart: Render, values: dict[str, Any]
) -> None:
    objects = chart(values)
    container = webhook_of(objects)["spec"]["containers"][0]
    given = {"$(POD_IP)": "10.0.0.1", "$(POD_NAMESPACE)": "pointsman"}
    words = list(container["args"])
    for variable, value in given.items():
        words = [word.replace(variable, value) for word in words]
    assert {each["name"] for each in container["env"]} == {"POD_IP", "POD_NAMESPACE"}
    options = Options.of(parser(["inject"]).parse_args(words))
    assert (options.listen, options.probes) == ("10.0.0.1:8443", "10.0.0.1:8081")
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    assert str(options.tls_dir) in mounts
    assert str(options.settings).rpartition("/")[0] in mounts
    if not values:
        assert options.self_signed
        assert options.names == (f"{WEBHOOK}.pointsman.svc",)
        assert options.webhook == only(objects, "MutatingWebhookConfiguration")["metadata"]["name"]
        assert options.secret == only(objects, "Secret")["metadata"]["name"]


def test_the_certificate_is_for_the_name_that_the_api_server_asks_by(chart: Render) -> None:
    objects = chart(CERT_MANAGER)
    certificate = only(objects, "Certificate")
    assert certificate["spec"]["dnsNames"] == [f"{WEBHOOK}.pointsman.svc"]
    configuration = only(objects, "MutatingWebhookConfiguration")
    inject_from = configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
    assert inject_from == f"pointsman/{certificate['metadata']['name']}"
    (volume,) = (
        each["secret"] for each in webhook_of(objects)["spec"]["volumes"] if "secret" in each
    )
    assert volume["secretName"] == certificate["spec"]["secretName"]


def test_the_settings_are_those_of_the_webhook_and_the_same_by_default(
    chart: Render, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    for values in MATRIX.values():
        file.write_text(only(chart(values), "ConfigMap")["data"]["settings.yaml"])
        loaded = inject_settings.load(file)
        if values == {}:
            assert loaded == inject_settings.Settings()
    assert inject_settings.load(file).secret is None  # of "all else"


def test_two_replicas_and_a_budget_that_keeps_one(chart: Render) -> None:
    objects = chart()
    deployment = only(objects, "Deployment", WEBHOOK)["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = only(objects, "PodDisruptionBudget", WEBHOOK)["spec"]
    assert budget["maxUnavailable"] == 1
    labels = deployment["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    grace = deployment["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= 5 + 10  # the linger, and what a review in flight may take
