"""Pods as an API server shows them to a webhook: a plain one, and what real ones have on it.

:func:`all_pods` takes every feature, every two and every three of them: about
three hundred pods, each valid for the API.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

Pod = dict[str, Any]


def plain(name: str = "app") -> Pod:
    """What `kubectl run` makes."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "team", "labels": {"app": name}},
        "spec": {"containers": [{"name": "app", "image": "example/app:1"}]},
    }


def no_labels(pod: Pod) -> None:
    del pod["metadata"]["labels"]


def made_by_a_replica_set(pod: Pod) -> None:
    meta = pod["metadata"]
    del meta["name"]
    meta["generateName"] = "app-7d9f8b6c5-"
    meta["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app-7d9f8b6c5",
         "uid": "3c5b1bd3-0000-4000-8000-000000000000", "controller": True,
         "blockOwnerDeletion": True}
    ]  # fmt: skip


def of_a_job(pod: Pod) -> None:
    pod["metadata"].setdefault("labels", {})["batch.kubernetes.io/job-name"] = "nightly"
    pod["spec"] |= {"restartPolicy": "Never", "activeDeadlineSeconds": 600}


def init_containers(pod: Pod) -> None:
    pod["spec"].setdefault("initContainers", []).append(
        {"name": "migrate", "image": "example/app:1", "command": ["migrate"]}
    )


def a_meshs_native_sidecar(pod: Pod) -> None:
    pod["spec"].setdefault("initContainers", [])[:0] = [
        {"name": "istio-init", "image": "istio/proxyv2:1.27"},
        {"name": "istio-proxy", "image": "istio/proxyv2:1.27", "restartPolicy": "Always",
         "startupProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}}},
    ]  # fmt: skip


def a_meshs_old_sidecar(pod: Pod) -> None:
    pod["spec"]["containers"].append({"name": "linkerd-proxy", "image": "linkerd/proxy:edge"})


def env_from(pod: Pod) -> None:
    pod["spec"]["containers"][0]["envFrom"] = [
        {"configMapRef": {"name": "settings"}},
        {"secretRef": {"name": "keys"}, "prefix": "APP_"},
    ]


def env(pod: Pod) -> None:
    pod["spec"]["containers"][0]["env"] = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)2"},
        {"name": "OPENAI_API_KEY",
         "valueFrom": {"secretKeyRef": {"name": "keys", "key": "openai"}}},
    ]  # fmt: skip


def a_base_url_of_its_own(pod: Pod) -> None:
    pod["spec"]["containers"][0].setdefault("env", []).append(
        {"name": "OPENAI_API_BASE", "value": "https://gateway.example/v1"}
    )


def read_only_volumes(pod: Pod) -> None:
    spec = pod["spec"]
    spec.setdefault("volumes", []).extend(
        [
            {"name": "certs", "secret": {"secretName": "certs", "defaultMode": 288}},
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        ]
    )
    spec["containers"][0]["volumeMounts"] = [
        {"name": "certs", "mountPath": "/certs", "readOnly": True},
        {"name": "token", "mountPath": "/var/run/secrets/tokens", "readOnly": True},
    ]


def many_containers(pod: Pod) -> None:
    pod["spec"]["containers"] += [
        {"name": f"worker-{n}", "image": "example/worker:1",
         "ports": [{"containerPort": 9000 + n, "name": f"p{n}"}]}
        for n in range(8)
    ]  # fmt: skip


def hardened(pod: Pod) -> None:
    pod["spec"]["securityContext"] = {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000}
    pod["spec"]["automountServiceAccountToken"] = False


def placed(pod: Pod) -> None:
    pod["spec"] |= {
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "os": {"name": "linux"},
    }


def nulls(pod: Pod) -> None:
    """Fields that a client sent as null, which an API server may show as they came."""
    pod["metadata"]["annotations"] = None
    pod["spec"]["containers"][-1]["env"] = None
    pod["spec"].setdefault("volumes", None)
    pod["spec"].setdefault("initContainers", None)


def wishes(pod: Pod) -> None:
    pod["metadata"]["annotations"] = {
        "pointsman.dev/config": "mine",
        "pointsman.dev/port": "20080",
        "pointsman.dev/memory-limit": "1Gi",
        "pointsman.dev/cpu-limit": "1",
        "pointsman.dev/secret": "",
        "pointsman.dev/skip-containers": "worker-1, worker-2",
        "someone.else/note": "x/y~z",
    }


FEATURES: tuple[Callable[[Pod], None], ...] = (
    no_labels, made_by_a_replica_set, of_a_job, init_containers, a_meshs_native_sidecar,
    a_meshs_old_sidecar, env_from, env, a_base_url_of_its_own, read_only_volumes, many_containers,
    hardened, placed, wishes, nulls,
)  # fmt: skip


def with_features(features: tuple[Callable[[Pod], None], ...]) -> Pod:
    pod = plain()
    # in the order of FEATURES: a later one may add to what an earlier one made
    for feature in FEATURES:
        if feature in features:
            feature(pod)
    return copy.deepcopy(pod)


def all_pods(most: int = 3) -> Iterator[Pod]:
    """Every combination of up to ``most`` features."""
    for count in range(most + 1):
        for features in combinations(FEATURES, count):
            yield with_features(features)


def review(pod: Any, uid: str = "u-1", namespace: str = "team", **fields: Any) -> dict[str, Any]:
    """The AdmissionReview that an API server posts when ``pod`` is made."""
    metadata = pod.get("metadata", {}) if isinstance(pod, dict) else {}
    return {
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": uid,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "name": metadata.get("name", "") if isinstance(metadata, dict) else "",
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:replicaset-controller",
                "groups": ["system:serviceaccounts", "system:authenticated"],
            },
            "object": pod,
            "oldObject": None,
            "dryRun": False,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
            **fields,
        },
    }
