"""The patch of a pod: what it adds, what it leaves, whom it leaves alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.inject.container import NAME, VOLUME
from sidecar.inject.patch import FAMILIES, Injection, apply, inject
from sidecar.inject.settings import Settings
from tests.support import pods
from tests.support.pods import Pod, all_pods, plain, with_features

SETTINGS = Settings()
BASE_URLS = {name for names, _ in FAMILIES for name in names}


def injected(pod: Pod, settings: Settings = SETTINGS) -> Pod:
    injection = inject(pod, "team", settings)
    assert injection.reason == "injected", injection.message
    return apply(pod, injection.operations)


def left(pod: Any, namespace: str = "team", own: str = "") -> Injection:
    injection = inject(pod, namespace, SETTINGS, own_namespace=own)
    assert injection.operations == ()
    return injection


def ours(pod: Pod) -> dict[str, Any]:
    (container,) = (each for each in pod["spec"]["initContainers"] if each["name"] == NAME)
    assert isinstance(container, dict)
    return container


def urls(container: dict[str, Any]) -> dict[str, str]:
    env = container.get("env") or []
    return {each["name"]: each["value"] for each in env if each["name"] in BASE_URLS}


def annotated(**annotations: str) -> Pod:
    pod = plain()
    keys = {key.replace("_", "-"): value for key, value in annotations.items()}
    pod["metadata"]["annotations"] = {f"pointsman.dev/{key}": text for key, text in keys.items()}
    return pod


# -- what is added ----------------------------------------------------------------------


def test_the_sidecar_is_a_native_one_and_has_no_pre_stop_hook() -> None:
    container = ours(injected(plain()))
    assert container["restartPolicy"] == "Always"
    assert "lifecycle" not in container


def test_the_app_starts_when_the_sidecar_is_really_ready() -> None:
    container = ours(injected(plain()))
    (port,) = container["ports"]
    for probe, path in (
        ("startupProbe", "/readyz"),
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/livez"),
    ):
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == SETTINGS.start_s
    liveness = container["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60


def test_only_probes_and_metrics_listen_beyond_the_pod() -> None:
    args = dict(arg.split("=", 1) for arg in ours(injected(plain()))["args"][1:])
    assert args["--listen"] == "127.0.0.1:18080"
    assert args["--admin"] == "127.0.0.1:18081"
    assert args["--probes"] == "$(POD_IP):18082"


def test_the_security_context_is_that_of_the_restricted_standard() -> None:
    assert ours(injected(plain()))["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_an_openshift_cluster_chooses_the_user_itself() -> None:
    context = ours(injected(plain(), Settings(run_as_user=None)))["securityContext"]
    assert context["runAsNonRoot"] is True
    assert not {"runAsUser", "runAsGroup"} & context.keys()


def test_the_config_is_a_config_map_and_the_keys_are_a_secret() -> None:
    pod = injected(plain())
    assert pod["spec"]["volumes"] == [{"name": VOLUME, "configMap": {"name": "pointsman"}}]
    container = ours(pod)
    assert container["volumeMounts"] == [
        {"name": VOLUME, "mountPath": "/etc/pointsman", "readOnly": True}
    ]
    assert container["envFrom"] == [{"secretRef": {"name": "pointsman-keys", "optional": True}}]


def test_keys_are_the_sidecars_alone() -> None:
    pod = injected(plain())
    assert "envFrom" not in pod["spec"]["containers"][0]


def test_every_container_of_the_app_gets_the_base_urls() -> None:
    pod = injected(with_features((pods.many_containers,)))
    for container in pod["spec"]["containers"]:
        assert urls(container) == {
            "OPENAI_BASE_URL": "http://127.0.0.1:18080/v1",
            "OPENAI_API_BASE": "http://127.0.0.1:18080/v1",
            "ANTHROPIC_BASE_URL": "http://127.0.0.1:18080",
            "ANTHROPIC_API_URL": "http://127.0.0.1:18080",
            "ANTHROPIC_API_BASE": "http://127.0.0.1:18080",
        }


def test_a_base_url_that_is_set_stays_and_its_variants_are_not_added() -> None:
    pod = injected(with_features((pods.a_base_url_of_its_own,)))
    assert urls(pod["spec"]["containers"][0]) == {
        "OPENAI_API_BASE": "https://gateway.example/v1",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:18080",
        "ANTHROPIC_API_URL": "http://127.0.0.1:18080",
        "ANTHROPIC_API_BASE": "http://127.0.0.1:18080",
    }


def test_no_container_is_given_a_key() -> None:
    container = injected(plain())["spec"]["containers"][0]
    assert not [each for each in container["env"] if "KEY" in each["name"]]


def test_init_containers_that_start_after_the_sidecar_get_the_base_urls() -> None:
    inits = injected(with_features((pods.init_containers,)))["spec"]["initContainers"]
    assert [each["name"] for each in inits] == [NAME, "migrate"]
    assert len(urls(inits[1])) == 5


def test_a_meshs_proxy_starts_before_the_sidecar_and_stops_after_it() -> None:
    features = (pods.a_meshs_native_sidecar, pods.init_containers)
    inits = injected(with_features(features))["spec"]["initContainers"]
    names = [each["name"] for each in inits]
    assert names.index("istio-proxy") < names.index(NAME)
    for each in inits:
        if names.index(each["name"]) < names.index(NAME):
            assert urls(each) == {}  # it runs when the sidecar does not


def test_what_meshes_inject_is_not_sent_to_the_sidecar() -> None:
    pod = injected(with_features((pods.a_meshs_old_sidecar,)))
    app, mesh = pod["spec"]["containers"]
    assert len(urls(app)) == 5
    assert urls(mesh) == {}


def test_the_pod_tells_that_it_was_injected() -> None:
    metadata = injected(plain())["metadata"]
    assert metadata["labels"] == {"app": "app", "pointsman.dev/injected": "true"}
    assert metadata["annotations"] == {"pointsman.dev/injected": SETTINGS.image}


def test_all_else_stays_as_it_was() -> None:
    for pod in all_pods(2):
        before = copy.deepcopy(pod)
        after = injected(pod)
        assert pod == before  # the function changes nothing itself
        for container, was in zip(
            after["spec"]["containers"], before["spec"]["containers"], strict=True
        ):
            kept = [each for each in container.get("env") or [] if each["name"] not in BASE_URLS]
            mine = [each for each in was.get("env") or [] if each["name"] not in BASE_URLS]
            assert kept == mine
            assert {**container, "env": 0} == {**was, "env": 0}
        rest = {"containers": 0, "initContainers": 0, "volumes": 0}
        assert {**after["spec"], **rest} == {**before["spec"], **rest}
        assert (after["spec"]["volumes"] or [])[:-1] == (before["spec"].get("volumes") or [])


# -- annotations ------------------------------------------------------------------------


def test_annotations_change_config_secret_port_and_resources() -> None:
    pod = injected(
        annotated(
            config="mine",
            secret="my-keys",
            port="20000",
            cpu_request="250m",
            memory_request="300Mi",
            cpu_limit="2",
            memory_limit="",
        )
    )
    container = ours(pod)
    assert pod["spec"]["volumes"][0]["configMap"] == {"name": "mine"}
    assert container["envFrom"][0]["secretRef"]["name"] == "my-keys"
    assert container["resources"] == {
        "requests": {"cpu": "250m", "memory": "300Mi"},
        "limits": {"cpu": "2"},
    }
    assert container["ports"][0]["containerPort"] == 20002
    app = pod["spec"]["containers"][0]
    assert urls(app)["OPENAI_BASE_URL"] == "http://127.0.0.1:20000/v1"


def test_an_empty_secret_is_none() -> None:
    assert "envFrom" not in ours(injected(annotated(secret="")))


def test_containers_to_leave_alone_are_left_alone() -> None:
    pod = with_features((pods.many_containers,))
    pod["metadata"]["annotations"] = {"pointsman.dev/skip-containers": "worker-0, worker-7"}
    names = {each["name"]: urls(each) for each in injected(pod)["spec"]["containers"]}
    assert names["worker-0"] == names["worker-7"] == {}
    assert names["worker-1"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", "http"),
        ("port", "80"),
        ("port", "65535"),
        ("port", "9" * 5000),
        ("port", "²"),
        ("config", "Not_A_Name"),
        ("config", ""),
        ("config", "a" * 254),
        ("secret", "../other"),
        ("cpu-request", "lots"),
        ("memory-limit", "-1Gi"),
        ("memory-limit", "1 Gi"),
        ("skip-containers", "a b"),
    ],
)
def test_an_annotation_that_cannot_be_used_leaves_the_pod_alone(key: str, value: str) -> None:
    injection = left(annotated(**{key: value}))
    assert injection.reason == "bad-annotation"
    assert f"pointsman.dev/{key}" in injection.message
    assert injection.warnings


def test_an_annotation_that_means_nothing_is_told() -> None:
    injection = inject(annotated(prot="1"), "team", SETTINGS)
    assert injection.reason == "injected"
    assert "pointsman.dev/prot" in injection.warnings[0]


# -- who is left alone ------------------------------------------------------------------


def test_a_second_injection_changes_nothing() -> None:
    for pod in all_pods(2):
        again = left(injected(pod))
        assert (again.reason, again.warnings) == ("already-injected", ())


@pytest.mark.parametrize("where", ["labels", "annotations"])
@pytest.mark.parametrize("word", ["disabled", "false", "Off"])
def test_a_pod_that_says_no_is_left_alone(where: str, word: str) -> None:
    pod = plain()
    pod["metadata"].setdefault(where, {})["pointsman.dev/inject"] = word
    injection = left(pod)
    assert (injection.reason, injection.warnings) == ("disabled", ())


def _host_network(pod: Pod) -> None:
    pod["spec"]["hostNetwork"] = True


def _windows(pod: Pod) -> None:
    pod["spec"]["os"] = {"name": "windows"}


def _windows_node(pod: Pod) -> None:
    pod["spec"]["nodeSelector"] = {"kubernetes.io/os": "windows"}


def _name(pod: Pod) -> None:
    pod["spec"]["containers"].append({"name": NAME, "image": "x"})


def _volume(pod: Pod) -> None:
    pod["spec"]["volumes"] = [{"name": VOLUME, "emptyDir": {}}]


def _port(pod: Pod) -> None:
    pod["spec"]["containers"][0]["ports"] = [{"containerPort": 18081}]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_host_network, "host-network"),
        (_windows, "windows"),
        (_windows_node, "windows"),
        (_name, "name-taken"),
        (_volume, "name-taken"),
        (_port, "port-taken"),
    ],
)
def test_a_pod_that_cannot_have_it_is_left_alone_and_its_maker_told(
    change: Callable[[Pod], None], reason: str
) -> None:
    pod = plain()
    change(pod)
    injection = left(pod)
    assert injection.reason == reason
    assert injection.warnings == (f"not injected: {injection.message}",)


def test_a_port_that_the_app_has_is_no_matter_where_the_sidecar_has_another() -> None:
    pod = annotated(port="20080")
    _port(pod)
    assert inject(pod, "team", SETTINGS).reason == "injected"


def test_the_webhooks_own_namespace_and_the_clusters_are_left_alone() -> None:
    assert left(plain(), "pointsman", own="pointsman").reason == "own-namespace"
    assert left(plain(), "kube-system").reason == "system-namespace"
    mirrored = plain()
    mirrored["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "abc"}
    assert left(mirrored).reason == "mirror-pod"


def test_a_base_url_that_env_from_may_bring_is_warned_of() -> None:
    injection = inject(with_features((pods.env_from,)), "team", SETTINGS)
    assert any("envFrom" in each for each in injection.warnings)
    assert not inject(plain(), "team", SETTINGS).warnings


def test_a_proxy_that_would_take_the_sidecars_traffic_is_warned_of() -> None:
    pod = plain()
    pod["spec"]["containers"][0]["env"] = [{"name": "HTTP_PROXY", "value": "http://proxy:3128"}]
    (warning,) = inject(pod, "team", SETTINGS).warnings
    assert "NO_PROXY" in warning
    pod["spec"]["containers"][0]["env"].append({"name": "NO_PROXY", "value": "127.0.0.1"})
    assert inject(pod, "team", SETTINGS).warnings == ()


@pytest.mark.parametrize("mesh", [pods.a_meshs_native_sidecar, pods.a_meshs_old_sidecar])
def test_a_mesh_that_may_refuse_the_kubelets_probes_is_warned_of(
    mesh: Callable[[Pod], None],
) -> None:
    pod = with_features((mesh,))
    for each in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
        each["name"] = each["name"].replace("linkerd", "istio")
    (warning,) = inject(pod, "team", SETTINGS).warnings
    assert 'excludeInboundPorts: "18082"' in warning
    assert len(f"pointsman: {warning}".encode()) <= 256
    excluded = "traffic.sidecar.istio.io/excludeInboundPorts"
    pod["metadata"]["annotations"] = {excluded: "9000, 18082"}
    assert inject(pod, "team", SETTINGS).warnings == ()
    pod["metadata"]["annotations"] = {excluded: "180820"}
    assert inject(pod, "team", SETTINGS).warnings
