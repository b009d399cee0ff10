"""What the platform team decides once, for all pods: a YAML file beside the webhook.

A pod's annotations (:mod:`sidecar.inject.wishes`) change some of it for that pod.
Unknown keys are errors, as in the sidecar's own configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from sidecar import __version__
from sidecar.config import faults, yamlfile
from sidecar.config.schema.base import Section, matching
from sidecar.errors import ConfigError

# Kubernetes' own rules: RFC 1123 subdomains for objects, labels for containers.
OBJECT_NAME: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
CONTAINER_NAME: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
# resource.Quantity: a positive decimal with a suffix of the SI or the binary kind.
QUANTITY: Final = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
PORTS: Final = 3  # from `port` on: for the app, for operators, for probes

ObjectName = Annotated[
    str,
    Field(max_length=253),
    matching(OBJECT_NAME, "an object's name is of small letters, digits, - and ."),
]
Quantity = Annotated[
    str, Field(max_length=32), matching(QUANTITY, "write a quantity such as 250m or 256Mi")
]
ContainerName = Annotated[
    str, matching(CONTAINER_NAME, "a container's name is of small letters, digits and -")
]
# Below 1024 a process without privileges cannot listen.
Port = Annotated[int, Field(ge=1024, le=65_535 - PORTS + 1)]


class Resources(Section):
    """Of the injected container. No CPU limit by default: a throttled sidecar slows its app."""

    cpu_request: Quantity | None = "100m"
    memory_request: Quantity | None = "192Mi"
    cpu_limit: Quantity | None = None
    memory_limit: Quantity | None = "512Mi"


class Settings(Section):
    """Of every injection, unless a pod's annotations say otherwise."""

    image: Annotated[str, matching(r"\S+", "name an image, without spaces")] = (
        f"pointsman/sidecar:{__version__}"
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    port: Port = 18_080  # the app's; the next is for operators, the one after for probes
    config: ObjectName = "pointsman"  # a ConfigMap of the pod's namespace
    secret: ObjectName | None = "pointsman-keys"  # noqa: S105  # a name; its keys become variables
    resources: Resources = Resources()
    run_as_user: Annotated[int, Field(ge=1)] | None = 65_532
    # what other products inject as ordinary containers: they speak to no model
    skip_containers: tuple[ContainerName, ...] = ("istio-proxy", "linkerd-proxy")
    start_s: Annotated[int, Field(ge=5, le=3600)] = 60  # for the sidecar to become ready


def load(path: Path) -> Settings:
    """Read ``path``; :class:`ConfigError` with every fault, as ``file:line: key: message``."""
    document = yamlfile.load(path)
    try:
        return Settings.model_validate({} if document.value is None else document.value)
    except ValidationError as exc:
        known = [*Settings.model_fields, *Resources.model_fields]
        raise ConfigError(faults.in_order(faults.of_validation(document, exc, known))) from None
