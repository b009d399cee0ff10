"""The Helm chart, rendered by the real helm over a matrix of values, each object judged."""

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
from tests.deploy.conftest import ROOT, Manifest, Render, only, run
from tests.support import schemas

CHART = ROOT / "deploy" / "chart"
WEBHOOK, TRITON = "pointsman-webhook", "pointsman-triton"
CERT_MANAGER = {"webhook": {"certificates": {"mode": "cert-manager"}}}
PROVIDED = {"webhook": {"certificates": {"mode": "provided", "secret": "mine", "caBundle": "QUJD"}}}
GPU = {"triton": {"enabled": True}}
MATRIX: dict[str, dict[str, Any]] = {
    "as it is": {},
    "cert-manager": CERT_MANAGER,
    "cert-manager, another issuer": {
        "webhook": {
            "certificates": {
                "mode": "cert-manager",
                "issuer": {"name": "corporate", "kind": "ClusterIssuer"},
            }
        }
    },
    "provided": PROVIDED,
    "gpu": GPU,
    "gpu that scales": {"triton": {"enabled": True, "autoscaling": {"enabled": True}}},
    "gpu with a claim": {"triton": {"enabled": True, "plans": {"size": "20Gi"}}},
    "gpu with someone's claim": {
        "triton": {"enabled": True, "plans": {"claim": "nfs", "size": "20Gi"}}
    },
    "gpu on chosen nodes": {
        "triton": {
            "enabled": True,
            "replicas": 3,
            "gpus": 2,
            "nodeSelector": {"nvidia.com/gpu.product": "L4"},
            "plans": {"size": "20Gi", "storageClass": "fast"},
            "env": [{"name": "A", "value": "b"}],
            "affinity": {"podAntiAffinity": {}},
        }
    },
    "monitoring": {**GPU, "monitoring": {"enabled": True, "labels": {"release": "prometheus"}}},
    "no policies": {**GPU, "networkPolicy": {"enabled": False}},
    "a cluster that chooses users": {
        "sidecar": {"runAsUser": None},
        "webhook": {"runAsUser": None},
        "triton": {"enabled": True, "runAsUser": None},
    },
    "all else": {
        "image": {"repository": "r.example:5000/a/b", "tag": "9", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "pull"}],
        "namespace": {"create": True},
        "sidecar": {
            "secret": "",
            "port": 20000,
            "skipContainers": [],
            "resources": {
                "cpuRequest": "",
                "memoryRequest": "",
                "memoryLimit": "",
                "cpuLimit": "2",
            },
        },
        "webhook": {
            "replicas": 1,
            "failurePolicy": "Fail",
            "priorityClassName": "system-cluster-critical",
            "nodeSelector": {"a": "b"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "podAnnotations": {"note": "yes"},
            "lingerSeconds": 0,
        },
    },
}
WHOLE = {"networkPolicy.monitoring", "webhook.resources", "triton.resources"}
# Objects of another project, whose schemas nobody packages.
FOREIGN = {("cert-manager.io/v1", "Certificate"), ("cert-manager.io/v1", "Issuer")}
# What may ask for rights in a cluster: these and no others, whatever the values are.
RIGHTS = {
    "Role": [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["pointsman-webhook-tls"],
            "verbs": ["get", "update"],
        }
    ],
    "ClusterRole": [
        {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["mutatingwebhookconfigurations"],
            "resourceNames": ["pointsman-webhook-pointsman"],
            "verbs": ["get", "patch"],
        }
    ],
}


def webhook_of(objects: list[Manifest]) -> Manifest:
    pod = only(objects, "Deployment", WEBHOOK)["spec"]["template"]
    assert isinstance(pod, dict)
    return pod


def holds(expressions: list[Manifest], labels: dict[str, str]) -> bool:
    """A label selector's matchExpressions, as Kubernetes reads them."""
    for each in expressions:
        value, values = labels.get(each["key"]), each.get("values", [])
        if {"In": value not in values, "NotIn": value in values}[each["operator"]]:
            return False
    return True


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


# -- rights -----------------------------------------------------------------------------


def test_the_webhooks_rights_are_two_objects_by_name(chart: Render) -> None:
    objects = chart()
    (role,) = only(objects, "Role")["rules"]
    (cluster,) = only(objects, "ClusterRole")["rules"]
    secret = only(objects, "Secret")["metadata"]["name"]
    hook = only(objects, "MutatingWebhookConfiguration")["metadata"]["name"]
    assert role == {
        "apiGroups": [""],
        "resources": ["secrets"],
        "resourceNames": [secret],
        "verbs": ["get", "update"],
    }
    assert cluster == {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations"],
        "resourceNames": [hook],
        "verbs": ["get", "patch"],
    }


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_nothing_needs_more_rights_than_are_named_here(
    chart: Render, values: dict[str, Any]
) -> None:
    """No cluster-admin, no other role that a cluster has, and nobody's rights but its own."""
    objects = chart(values)
    accounts = {
        (each["metadata"]["namespace"], each["metadata"]["name"])
        for each in objects
        if each["kind"] == "ServiceAccount"
    }
    roles = {
        (each["kind"], each["metadata"]["name"]): each["rules"]
        for each in objects
        if each["kind"].endswith("Role")  # an aggregationRule would be other rights
        and not {"apiVersion", "kind", "metadata", "rules"} ^ each.keys()
    }
    assert len(roles) == sum(each["kind"].endswith("Role") for each in objects)
    for (kind, _), rules in roles.items():
        assert rules == RIGHTS[kind]
    for each in objects:
        if each["kind"].endswith("RoleBinding"):
            referred = each["roleRef"]
            assert (referred["kind"], referred["name"]) in roles
            assert f"{referred['kind']}Binding" == each["kind"]
            for subject in each["subjects"]:
                assert subject["kind"] == "ServiceAccount"
                assert (subject["namespace"], subject["name"]) in accounts
        if each["kind"] == "Deployment":
            pod = each["spec"]["template"]["spec"]
            own = pod.get("serviceAccountName") == WEBHOOK and bool(roles)
            assert pod["automountServiceAccountToken"] is own
            assert "hostNetwork" not in pod
            assert "hostPID" not in pod
            assert all("hostPath" not in volume for volume in pod["volumes"])


@pytest.mark.parametrize("values", [CERT_MANAGER, PROVIDED])
def test_without_certificates_of_its_own_it_has_no_rights_and_no_token(
    chart: Render, values: dict[str, Any]
) -> None:
    objects = chart(values)
    kinds = {each["kind"] for each in objects}
    assert not {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "Secret"} & kinds
    assert webhook_of(objects)["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_every_pod_is_of_the_restricted_standard_and_none_is_injected(
    chart: Render, values: dict[str, Any]
) -> None:
    for each in chart(values):
        if each["kind"] != "Deployment":
            continue
        pod = each["spec"]["template"]
        assert pod["metadata"]["labels"]["pointsman.dev/inject"] == "disabled"
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["spec"]["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}


# -- the GPU pool -----------------------------------------------------------------------


def test_triton_has_time_to_build_its_plans_before_it_is_restarted(chart: Render) -> None:
    deployment = only(chart(GPU), "Deployment", TRITON)["spec"]["template"]["spec"]
    (container,) = deployment["containers"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 1800
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in (
        deployment["tolerations"]
    )


def test_triton_scales_by_a_metric_that_the_rules_record(chart: Render) -> None:
    values = {"triton": {"enabled": True, "autoscaling": {"enabled": True}}}
    objects = chart({**values, "monitoring": {"enabled": True}})
    scaler = only(objects, "HorizontalPodAutoscaler")["spec"]
    assert "replicas" not in only(objects, "Deployment", TRITON)["spec"]
    assert scaler["scaleTargetRef"]["name"] == TRITON
    (metric,) = scaler["metrics"]
    rules = only(objects, "PrometheusRule")["spec"]["groups"]
    recorded = {rule.get("record") for group in rules for rule in group["rules"]}
    assert metric["pods"]["metric"]["name"] in recorded


def test_only_injected_pods_reach_triton_and_triton_reaches_nobody(chart: Render) -> None:
    policy = only(chart(GPU), "NetworkPolicy", TRITON)["spec"]
    ask, scrape = policy["ingress"]
    assert ask["from"][0]["podSelector"] == {"matchLabels": {"pointsman.dev/injected": "true"}}
    assert [each["port"] for each in ask["ports"]] == ["grpc"]
    assert [each["port"] for each in scrape["ports"]] == ["metrics"]
    assert policy["egress"] == []


# -- what is watched --------------------------------------------------------------------


def test_what_is_scraped_is_there(chart: Render) -> None:
    objects = chart({**GPU, "monitoring": {"enabled": True}})
    for monitor in (each for each in objects if each["kind"] == "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        services = [
            each
            for each in objects
            if each["kind"] == "Service" and wanted.items() <= each["metadata"]["labels"].items()
        ]
        (service,) = services
        ports = {each["name"] for each in service["spec"]["ports"]}
        assert {each["port"] for each in monitor["spec"]["endpoints"]} <= ports


def test_the_rules_are_those_of_the_files(chart: Render) -> None:
    rules = only(chart({"monitoring": {"enabled": True}}), "PrometheusRule")["spec"]["groups"]
    wanted = []
    for name in ("rules.yaml", "cluster-rules.yaml"):
        file = CHART / "files" / name
        if file.exists():
            wanted += yaml.safe_load(file.read_text())["groups"]
    assert rules == wanted


def test_the_charts_copy_of_the_alert_rules_is_the_one_in_deploy() -> None:
    source = ROOT / "deploy" / "prometheus" / "rules.yaml"
    copy = CHART / "files" / "rules.yaml"
    assert copy.exists() == source.exists()
    if source.exists():
        assert copy.read_text() == source.read_text(), (
            "cp deploy/prometheus/rules.yaml deploy/chart/files/"
        )
