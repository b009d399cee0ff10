"""What the chart's tests share: its names, the values it is rendered with, how to read it."""

from __future__ import annotations

from typing import Any

from tests.deploy.conftest import ROOT, Manifest, only

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
# Objects of another project, whose schemas nobody packages.
FOREIGN = {("cert-manager.io/v1", "Certificate"), ("cert-manager.io/v1", "Issuer")}


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
