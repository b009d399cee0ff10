"""Kubernetes' own schemas, strict, from the package ``kubernetes-validate``.

The package reads megabytes of JSON for each object and judges in Python, which
takes 10 ms a pod; here they are read once and judged by jsonschema-rs, which takes
microseconds. ``tests/deploy/test_schemas.py`` holds the two against each other.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema_rs
from kubernetes_validate import utils

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


def faults(manifest: dict[str, Any], version: str) -> list[str]:
    """What is wrong with an object for a version of Kubernetes.

    FileNotFoundError for an object that this version does not have.
    """
    validator = _validator(version, str(manifest["kind"]), str(manifest["apiVersion"]))
    return [
        f"{'.'.join(map(str, error.instance_path))}: {error.message[:200]}"
        for error in validator.iter_errors(manifest)
    ]
