"""Classifier backends, and the choice among them."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.classify.base import Classifier, Reader
from sidecar.classify.batcher import BatchingClassifier
from sidecar.classify.heuristic import HeuristicReader
from sidecar.config.schema import Classifier as Settings
from sidecar.config.schema import Triton
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import OnnxEncoder
from sidecar.encoder.served import Served
from sidecar.encoder.tokens import Tokens
from sidecar.errors import ConfigError, EncoderError
from sidecar.observe.metrics import Registry


@dataclass(frozen=True, slots=True)
class Chosen:
    """A classifier that is ready, and why it is this one."""

    classifier: Classifier
    why: str


async def build(settings: Settings, bundle: Bundle, registry: Registry | None = None) -> Chosen:
    """The configured backend, or for ``auto`` the best there is.

    A backend that was named and does not load is an error; ``auto`` goes on to the
    next. A Triton server that is configured and does not answer yet is no error: the
    encoder in process reads until it does.
    """
    remote = settings.triton
    if settings.backend == "triton" or (settings.backend == "auto" and remote is not None):
        try:
            return await _triton(settings, remote or Triton(), bundle, registry)
        except (ConfigError, EncoderError) as exc:
            if settings.backend == "triton":
                raise
            return _in_process(settings, bundle, f"auto: {exc}")
    said = "configured" if settings.backend != "auto" else "auto: no Triton server is configured"
    return _in_process(settings, bundle, said)


def _in_process(settings: Settings, bundle: Bundle, said: str) -> Chosen:
    if settings.backend == "heuristic":
        return _chosen(settings, HeuristicReader(), "heuristic", said)
    try:
        reader = OnnxEncoder(bundle, threads=settings.threads)
    except EncoderError as exc:
        if settings.backend == "onnx":
            raise
        return _chosen(
            settings, HeuristicReader(), "heuristic", f"{said}; the encoder does not load: {exc}"
        )
    return _chosen(settings, reader, "onnx", f"{said}; encoder {bundle.version} in process")


async def _triton(
    settings: Settings, remote: Triton, bundle: Bundle, registry: Registry | None
) -> Chosen:
    """Raises ConfigError where the client is not installed."""
    # gRPC takes longer to import than all the rest: only who asks for it waits for it
    from sidecar.classify.triton import TritonClassifier  # noqa: PLC0415
    from sidecar.classify.triton_pool import Pool  # noqa: PLC0415

    reader = OnnxEncoder(bundle, settings.threads) if remote.fallback == "onnx" else None
    tokens = Tokens(bundle.tokenizer)
    pool = Pool(remote.url, Served.of(bundle, remote.model), remote.in_flight)
    cpu = _batching(settings, reader, "onnx", "Triton is not asked") if reader else None
    classifier = TritonClassifier(
        pool,
        tokens,
        bundle.version,
        remote,
        deadline_s=settings.deadline_ms / 1e3,
        cpu=cpu,
        registry=registry or Registry(),
    )
    await classifier.start()
    said = "auto" if settings.backend == "auto" else "configured"
    return Chosen(classifier, f"{classifier.name} ({said}: {classifier.why})")


def _chosen(settings: Settings, reader: Reader, name: str, said: str) -> Chosen:
    return Chosen(_batching(settings, reader, name, said), f"{name} ({said})")


def _batching(settings: Settings, reader: Reader, name: str, why: str) -> BatchingClassifier:
    return BatchingClassifier(
        reader,
        name=name,
        why=why,
        deadline_s=settings.deadline_ms / 1e3,
        max_batch_tokens=settings.max_batch_tokens,
        max_queue=settings.max_queue,
    )
