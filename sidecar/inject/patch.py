"""From a pod to the JSON patch (RFC 6902) that puts the sidecar into it. Pure.

The same pod always gives the same patch; a patched pod gives none. A pod that
cannot be injected rightly is left as it is, with a reason: the app then speaks
to its model as it did before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jsonpatch
from jsonpointer import escape

from sidecar.inject.container import NAME, VOLUME, sidecar, volume
from sidecar.inject.settings import PORTS, Settings
from sidecar.inject.wishes import INJECTED, LeftAlone, Wishes, wishes_of

Json = dict[str, Any]
_SYSTEM: Final = frozenset({"kube-system", "kube-public", "kube-node-lease"})
_MIRROR: Final = "kubernetes.io/config.mirror"
# Which variable each SDK reads for its base URL, by family; with what path below the
# address. A container that sets one of a family has decided for that family.
#   OPENAI_BASE_URL: OpenAI's SDKs. OPENAI_API_BASE: openai < 1, LangChain, LlamaIndex, LiteLLM.
#   ANTHROPIC_BASE_URL: Anthropic's SDKs. ANTHROPIC_API_URL: LangChain. ..._BASE: LiteLLM.
FAMILIES: Final = (
    (("OPENAI_BASE_URL", "OPENAI_API_BASE"), "/v1"),
    (("ANTHROPIC_BASE_URL", "ANTHROPIC_API_URL", "ANTHROPIC_API_BASE"), ""),
)
# Istio's proxy takes what comes to the pod, and where mutual TLS is strict it refuses the
# kubelet, whose probes it rewrites for the app's containers only (istio/istio#53786).
_MESH: Final = "istio-proxy"
_EXCLUDED: Final = "traffic.sidecar.istio.io/excludeInboundPorts"
_PROXIES: Final = frozenset({"HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"})


@dataclass(frozen=True, slots=True)
class Injection:
    """What is to be done with one pod: without ``operations``, nothing, for ``reason``."""

    reason: str  # "injected", or one of the few words of LeftAlone
    message: str
    operations: tuple[Json, ...] = ()
    warnings: tuple[str, ...] = ()  # for whoever made the pod


def inject(
    pod: object, namespace: str, settings: Settings, *, own_namespace: str = ""
) -> Injection:
    """The patch for ``pod``, which is to be made in ``namespace``. Never raises on any JSON."""
    try:
        return _inject(pod, namespace, settings, own_namespace)
    except LeftAlone as exc:
        message = str(exc)
        warnings = (f"not injected: {message}",) if exc.surprising else ()
        return Injection(exc.reason, message, warnings=warnings)


def apply(target: Json, operations: Sequence[Json]) -> Json:
    """``target`` with the operations applied, as the API server would; it stays as it is."""
    result = jsonpatch.JsonPatch(list(operations)).apply(target)
    assert isinstance(result, dict)
    return result


def _inject(pod: object, namespace: str, settings: Settings, own_namespace: str) -> Injection:
    pod = _object(pod, "the pod")
    metadata = _object(pod.get("metadata"), "metadata")
    spec = _object(pod.get("spec"), "spec")
    labels = _texts(metadata.get("labels"), "metadata.labels")
    annotations = _texts(metadata.get("annotations"), "metadata.annotations")
    containers = _named(spec.get("containers"), "spec.containers")
    inits = _named(spec.get("initContainers"), "spec.initContainers")
    volumes = _named(spec.get("volumes"), "spec.volumes")
    if not containers:
        raise LeftAlone("not-a-pod", "The pod has no containers.")
    _refuse_place(namespace or str(metadata.get("namespace") or ""), own_namespace, annotations)
    _refuse_kind(spec)
    wishes = wishes_of(labels, annotations, settings)
    _refuse_taken([*containers, *inits], volumes, wishes)

    place = _place(inits)
    operations = [
        *_variables("/spec/containers", list(enumerate(containers)), wishes),
        # of the pod's init containers, those that start when the sidecar is there
        *_variables("/spec/initContainers", _later(inits, place), wishes),
        _insert("/spec/initContainers", inits, place, sidecar(wishes, settings)),
        _insert("/spec/volumes", volumes, len(volumes), volume(wishes)),
        _entry("/metadata/labels", labels, INJECTED, "true"),
        _entry("/metadata/annotations", annotations, INJECTED, settings.image),
    ]
    return Injection(
        reason="injected",
        message=f"injected {settings.image} on port {wishes.port}",
        operations=tuple(operations),
        warnings=(
            *_warnings(containers, wishes),
            *_mesh([*containers, *inits], annotations, wishes),
        ),
    )


# -- who is left alone ----------------------------------------------------------------


def _refuse_place(namespace: str, own_namespace: str, annotations: Mapping[str, str]) -> None:
    if own_namespace and namespace == own_namespace:
        message = "It is in the webhook's own namespace, which must start without the webhook."
        raise LeftAlone("own-namespace", message, surprising=False)
    if namespace in _SYSTEM:
        message = f"{namespace} is a namespace of the cluster's own."
        raise LeftAlone("system-namespace", message, surprising=False)
    if _MIRROR in annotations:
        message = "It mirrors a static pod, which only its node's kubelet can change."
        raise LeftAlone("mirror-pod", message, surprising=False)


def _refuse_kind(spec: Json) -> None:
    if spec.get("hostNetwork") is True:
        message = "It uses its node's network, where the sidecar's ports are the node's."
        raise LeftAlone("host-network", message)
    system = _object(spec.get("os") or {}, "spec.os").get("name")
    selector = _object(spec.get("nodeSelector") or {}, "spec.nodeSelector")
    if "windows" in (system, selector.get("kubernetes.io/os")):
        raise LeftAlone("windows", "It runs on Windows, and the sidecar's image is for Linux.")


def _refuse_taken(containers: Sequence[Json], volumes: Sequence[Json], wishes: Wishes) -> None:
    for container in containers:
        if container.get("name") == NAME:
            if container.get("restartPolicy") == "Always":
                raise LeftAlone("already-injected", "It has the sidecar.", surprising=False)
            raise LeftAlone("name-taken", f"It has a container called {NAME}. Rename it.")
    if any(each.get("name") == VOLUME for each in volumes):
        raise LeftAlone("name-taken", f"It has a volume called {VOLUME}. Rename it.")
    ours = range(wishes.port, wishes.port + PORTS)
    for container in containers:
        for port in _objects(container.get("ports"), "ports"):
            number = port.get("containerPort")
            if isinstance(number, int) and number in ours:
                raise LeftAlone(
                    "port-taken",
                    f"Its container {container.get('name')!s:.63} uses port {number}. "
                    "Give the sidecar others with the annotation pointsman.dev/port.",
                )


# -- what is changed ------------------------------------------------------------------


def _place(inits: Sequence[Json]) -> int:
    """Where the sidecar goes among the init containers.

    After the last native sidecar that is there, for a mesh's proxy must be up
    before us and, as they stop in the reverse order, go after us. Otherwise first:
    then the pod's own init containers can ask a model too.
    """
    lasting = [i for i, each in enumerate(inits) if each.get("restartPolicy") == "Always"]
    return lasting[-1] + 1 if lasting else 0


def _later(inits: Sequence[Json], place: int) -> list[tuple[int, Json]]:
    return [(i, each) for i, each in enumerate(inits) if i >= place]


def _variables(path: str, containers: Sequence[tuple[int, Json]], wishes: Wishes) -> Iterator[Json]:
    for index, container in containers:
        if container.get("name") in wishes.skip:
            continue
        variables = _named(container.get("env"), "env")
        present = {each.get("name") for each in variables}
        added = [
            {"name": name, "value": f"http://127.0.0.1:{wishes.port}{below}"}
            for names, below in FAMILIES
            if present.isdisjoint(names)
            for name in names
        ]
        if not variables and added:
            yield {"op": "add", "path": f"{path}/{index}/env", "value": added}
        else:
            for variable in added:
                yield {"op": "add", "path": f"{path}/{index}/env/-", "value": variable}


def _insert(path: str, present: Sequence[Json], place: int, value: Json) -> Json:
    if not present:  # missing, null or empty
        return {"op": "add", "path": path, "value": [value]}
    where = "-" if place == len(present) else str(place)
    return {"op": "add", "path": f"{path}/{where}", "value": value}


def _entry(path: str, present: Mapping[str, str], key: str, value: str) -> Json:
    if not present:
        return {"op": "add", "path": path, "value": {key: value}}
    return {"op": "add", "path": f"{path}/{escape(key)}", "value": value}


def _warnings(containers: Sequence[Json], wishes: Wishes) -> Iterator[str]:
    for name in wishes.unknown:
        yield f"the annotation {name:.100} means nothing"
    for container in containers:
        if container.get("name") in wishes.skip:
            continue
        name = f"container {container.get('name')!s:.63}"
        present = {each.get("name") for each in _named(container.get("env"), "env")}
        if container.get("envFrom") and not all(present & set(names) for names, _ in FAMILIES):
            yield f"{name}: a base URL from envFrom is overridden; set it in env to keep it"
        if present & _PROXIES and present.isdisjoint({"NO_PROXY", "no_proxy"}):
            yield f"{name}: it has a proxy: set NO_PROXY=127.0.0.1, or the sidecar is not reached"


def _mesh(
    containers: Sequence[Json], annotations: Mapping[str, str], wishes: Wishes
) -> Iterator[str]:
    probes = str(wishes.port + PORTS - 1)
    passing = {port.strip() for port in annotations.get(_EXCLUDED, "").split(",")}
    if any(each.get("name") == _MESH for each in containers) and probes not in passing:
        yield f'{_MESH}: where mTLS is strict, annotate {_EXCLUDED}: "{probes}", or probes fail'


# -- the shapes that are read ---------------------------------------------------------


def _object(value: object, what: str) -> Json:
    if not isinstance(value, dict):
        raise LeftAlone("not-a-pod", f"{what} is not an object.")
    return value


def _objects(value: object, what: str) -> list[Json]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise LeftAlone("not-a-pod", f"{what} is not a list of objects.")
    return value


def _named(value: object, what: str) -> list[Json]:
    objects = _objects(value, what)
    if not all(isinstance(each.get("name"), str) for each in objects):
        raise LeftAlone("not-a-pod", f"{what} has something without a name.")
    return objects


def _texts(value: object, what: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise LeftAlone("not-a-pod", f"{what} is not a map of texts.")
    return value
