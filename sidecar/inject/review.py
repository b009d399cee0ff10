"""AdmissionReview v1: the bytes that an API server posts, and the bytes it gets back. Pure.

The answer always allows: this webhook adds, and judges nobody. What it cannot
read as a review is a :class:`BadRequest`, which an API server takes for a failed
call, so that with ``failurePolicy: Ignore`` the pod starts as it is.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass
from typing import Any, Final

import orjson

from sidecar.errors import BadRequest, trace
from sidecar.inject.patch import Injection, inject
from sidecar.inject.settings import Settings

log = logging.getLogger("sidecar.inject")

_VERSION: Final = "admission.k8s.io/v1"
_POD: Final = {"group": "", "version": "v1", "kind": "Pod"}
_LONGEST: Final = 256  # bytes of one warning; an API server cuts longer ones


@dataclass(frozen=True, slots=True)
class Answer:
    """One review's answer; ``pod`` is its namespace and name, as far as there is one yet."""

    body: bytes
    injection: Injection
    pod: str


def answer(body: bytes, settings: Settings, own_namespace: str = "") -> Answer:
    """Answer one review; :class:`BadRequest` with a sentence for what is none."""
    request = _request(body)
    namespace = _text(request.get("namespace"))
    injection = _consider(request, namespace, settings, own_namespace)
    response: dict[str, Any] = {
        "uid": request["uid"],
        "allowed": True,
        "auditAnnotations": {"decision": injection.reason, "message": injection.message},
    }
    if injection.operations:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(orjson.dumps(injection.operations)).decode()
    if injection.warnings:
        response["warnings"] = [_short(f"pointsman: {each}") for each in injection.warnings]
    review = {"apiVersion": _VERSION, "kind": "AdmissionReview", "response": response}
    return Answer(orjson.dumps(review), injection, f"{namespace}/{_name(request)}")


def _request(body: bytes) -> dict[str, Any]:
    try:
        review = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("The body is not JSON. Post an AdmissionReview.") from None
    if not isinstance(review, dict) or review.get("kind") != "AdmissionReview":
        raise BadRequest("The body is not an AdmissionReview.", param="kind")
    if review.get("apiVersion") != _VERSION:
        message = f"Only {_VERSION} is spoken. Set admissionReviewVersions: [v1]."
        raise BadRequest(message, param="apiVersion")
    request = review.get("request")
    if not isinstance(request, dict):
        raise BadRequest("The review has no request.", param="request")
    if not isinstance(request.get("uid"), str) or not request["uid"]:
        raise BadRequest("The request has no uid.", param="request.uid")
    return request


def _consider(
    request: dict[str, Any], namespace: str, settings: Settings, own_namespace: str
) -> Injection:
    if request.get("kind") != _POD or request.get("subResource"):
        return Injection("not-a-pod", "Only pods are injected. Check the webhook's rules.")
    if request.get("operation") != "CREATE":
        return Injection("not-created", "A pod is injected when it is made, and never after.")
    try:
        return inject(request.get("object"), namespace, settings, own_namespace=own_namespace)
    except Exception as exc:  # a fault of ours must not keep a pod from starting
        log.error("a pod was left alone for a fault of ours: %s", trace(exc))
        return Injection(
            "failed", "The webhook failed.", warnings=("not injected: the webhook failed",)
        )


def _name(request: dict[str, Any]) -> str:
    """The pod's name; of a controller's pod, which has none yet, what it is made from."""
    pod = request.get("object")
    metadata = pod.get("metadata") if isinstance(pod, dict) else None
    if not isinstance(metadata, dict):
        return "?"
    made = _text(metadata.get("generateName"))
    return _text(metadata.get("name")) or (made + "*" if made else "?")


def _text(value: object) -> str:
    """What may stand in a log: a name, and not a line of its own."""
    return value[:253] if isinstance(value, str) and value.isprintable() else ""


def _short(warning: str) -> str:
    printable = "".join(char if char.isprintable() else "?" for char in warning)
    return printable.encode()[:_LONGEST].decode(errors="ignore")
