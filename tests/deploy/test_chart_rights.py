"""What the chart's pods may do in a cluster: the rights named here, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.conftest import Render, only
from tests.deploy.values import CERT_MANAGER, MATRIX, PROVIDED, WEBHOOK, webhook_of

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
