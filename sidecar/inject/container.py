"""The native sidecar, as Kubernetes reads it.

An init container with ``restartPolicy: Always`` (KEP-753, on by default since
1.29): it is ready before the app starts, it is stopped after the app has ended,
and a Job need not wait for it. It has no preStop hook, because there is nothing
to wait for: when it is told to stop the app's containers are gone.

The app's port and the operators' listen on 127.0.0.1 alone. Probes and metrics
are asked over the pod's address, on a port of their own that changes nothing.
"""

from __future__ import annotations

from typing import Any, Final

from sidecar.inject.settings import Settings
from sidecar.inject.wishes import Wishes

NAME: Final = "pointsman"
VOLUME: Final = "pointsman-config"
CONFIG_FILE: Final = "sidecar.yaml"  # the ConfigMap's key
PROBES_PORT: Final = "pt-probes"  # port names have 15 characters at most
_FOLDER: Final = "/etc/pointsman"


def sidecar(wishes: Wishes, settings: Settings) -> dict[str, Any]:
    """The container."""
    listen, admin, probes = wishes.port, wishes.port + 1, wishes.port + 2
    container: dict[str, Any] = {
        "name": NAME,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": [
            "serve",
            f"--config={_FOLDER}/{CONFIG_FILE}",
            f"--listen=127.0.0.1:{listen}",
            f"--admin=127.0.0.1:{admin}",
            f"--probes=$(POD_IP):{probes}",
        ],
        "restartPolicy": "Always",
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": PROBES_PORT, "containerPort": probes, "protocol": "TCP"}],
        "resources": _resources(wishes),
        "securityContext": _security(settings),
        "startupProbe": {
            "httpGet": {"path": "/readyz", "port": PROBES_PORT},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": settings.start_s,
        },
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": PROBES_PORT},
            "periodSeconds": 5,
            "timeoutSeconds": 3,
            "failureThreshold": 3,
        },
        # a restart cuts the streams in flight: only what is dead for a minute is restarted
        "livenessProbe": {
            "httpGet": {"path": "/livez", "port": PROBES_PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": VOLUME, "mountPath": _FOLDER, "readOnly": True}],
    }
    if wishes.secret is not None:
        # optional: a pod whose upstreams need no key has no Secret, and starts
        container["envFrom"] = [{"secretRef": {"name": wishes.secret, "optional": True}}]
    return container


def volume(wishes: Wishes) -> dict[str, Any]:
    """The volume with its configuration: a whole folder, so that changes reach it."""
    return {"name": VOLUME, "configMap": {"name": wishes.config}}


def _resources(wishes: Wishes) -> dict[str, Any]:
    named = {
        "requests": {"cpu": wishes.cpu_request, "memory": wishes.memory_request},
        "limits": {"cpu": wishes.cpu_limit, "memory": wishes.memory_limit},
    }
    kept = {
        kind: {name: value for name, value in values.items() if value is not None}
        for kind, values in named.items()
    }
    return {kind: values for kind, values in kept.items() if values}


def _security(settings: Settings) -> dict[str, Any]:
    """What the Pod Security Standard `restricted` asks, and a read-only root."""
    context: dict[str, Any] = {
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if settings.run_as_user is not None:
        context |= {"runAsUser": settings.run_as_user, "runAsGroup": settings.run_as_user}
    return context
