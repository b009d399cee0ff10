"""Schemas of Kubernetes' own objects and of the Prometheus operator's, strict.

Kubernetes' own are from the package ``kubernetes-validate``.

The package reads megabytes of JSON for each object and judges in Python, which
takes 10 ms a pod; here they are read once and judged by jsonschema-rs, which takes
microseconds. ``tests/deploy/test_schemas.py`` holds the two against each other.

The Prometheus operator's are from ``cloudcoil-models-prometheus-operator``, classes made
from the operator's own CustomResourceDefinitions (of its version 0.80). They let unknown
fields pass, as an API server does, which drops them: here those are faults.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema_rs
from kubernetes_validate import utils

OPERATOR = "monitoring.coreos.com/v1"
OLDEST = "1.29"  # the first with native sidecars switched on
NEWEST = utils.major_minor(utils.latest_version())


@cache
def _folder(version: str) -> str:
    known = [each for each in utils.all_versions() if utils.major_minor(each) == version]
    return f"kubernetes-json-schema/v{known[-1]}-local-strict"


@cache
def _definitions(version: str) -> jsonschema_rs.Registry:
    contents = utils.schema_contents(f"{_folder(version)}/_definitions.json", version)
    return jsonschema_rs.Registry([(contents["$id"], contents)])


@cache
def _validator(version: str, kind: str, api_version: str) -> Any:
    # admissionregistration.k8s.io/v1 is in a file KIND-admissionregistration-v1.json
    group, _, of_group = api_version.rpartition("/")
    name = f"{kind.lower()}-{group.split('.')[0] + '-' if group else ''}{of_group}"
    schema = utils.schema_contents(f"{_folder(version)}/{name}.json", version)
    return jsonschema_rs.Draft202012Validator(schema, registry=_definitions(version))


@cache
def _operator_validator(kind: str) -> Any:
    from cloudcoil.models.prometheus_operator import v1  # megabytes: only who needs it

    schema = getattr(v1, kind).model_json_schema(by_alias=True)
    for each in (schema, *schema["$defs"].values()):
        if each.get("properties"):
            each["additionalProperties"] = False
    return jsonschema_rs.Draft202012Validator(schema)


def faults(manifest: dict[str, Any], version: str) -> list[str]:
    """What is wrong with an object for a version of Kubernetes.

    FileNotFoundError for an object that this version does not have.
    """
    kind, api_version = str(manifest["kind"]), str(manifest["apiVersion"])
    if api_version == OPERATOR:
        validator = _operator_validator(kind)
    else:
        validator = _validator(version, kind, api_version)
    return [
        f"{'.'.join(map(str, error.instance_path))}: {error.message[:200]}"
        for error in validator.iter_errors(manifest)
    ]
