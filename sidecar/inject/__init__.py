"""Injection into Kubernetes: a pure function from a pod to a JSON patch, and the webhook around it.

:mod:`~sidecar.inject.patch` is the function, :mod:`~sidecar.inject.review` speaks
AdmissionReview v1, :mod:`~sidecar.inject.server` serves it over TLS. Nothing here
knows of routing, and nothing of routing knows of this.
"""
