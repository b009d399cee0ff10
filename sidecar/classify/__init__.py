"""Classifier backends, and the choice among them."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.classify.base import Classifier, Reader
from sidecar.classify.batcher import BatchingClassifier
from sidecar.classify.heuristic import HeuristicReader
from sidecar.config.schema import Classifier as Settings
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import OnnxEncoder
from sidecar.errors import ConfigError, EncoderError


@dataclass(frozen=True, slots=True)
class Chosen:
    """A classifier that is ready, and why it is this one."""

    classifier: Classifier
    why: str


def build(settings: Settings, bundle: Bundle) -> Chosen:
    """The configured backend, or for ``auto`` the best that loads here.

    Needs a running event loop. A backend that was named and does not load is an
    error; ``auto`` goes on to the next.
    """
    if settings.backend == "triton":
        raise ConfigError(
            ["classifier.backend: triton is not available in this version; use auto or onnx"]
        )
    if settings.backend == "heuristic":
        return Chosen(_batching(HeuristicReader(), "heuristic", settings), "heuristic (configured)")
    try:
        reader = OnnxEncoder(bundle, threads=settings.threads)
    except EncoderError as exc:
        if settings.backend == "onnx":
            raise
        why = f"heuristic (auto: the encoder does not load: {exc})"
        return Chosen(_batching(HeuristicReader(), "heuristic", settings), why)
    why = f"onnx ({_said(settings)}: encoder {bundle.version} in process)"
    return Chosen(_batching(reader, "onnx", settings), why)


def _said(settings: Settings) -> str:
    if settings.backend == "auto" and settings.triton is None:
        return "auto: no Triton server is configured"
    return settings.backend if settings.backend == "auto" else "configured"


def _batching(reader: Reader, name: str, settings: Settings) -> BatchingClassifier:
    return BatchingClassifier(
        reader,
        name=name,
        deadline_s=settings.deadline_ms / 1e3,
        max_batch_tokens=settings.max_batch_tokens,
        max_queue=settings.max_queue,
    )
