"""What reads prompts for the offline commands: ONNX Runtime, torch, or a server.

A backend is a function from a verified bundle to something with ``read_ids`` and
``tokens``; a new one is one line in :data:`BACKENDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import OnnxEncoder
from sidecar.encoder.tokens import Ids, Tokens
from sidecar.errors import DataError
from sidecar.types import Reading


class Encoder(Protocol):
    """A loaded encoder, whoever runs it."""

    version: str
    tokens: Tokens

    def read_ids(self, ids: Sequence[Ids]) -> list[Reading]:
        """One reading a row of ids, in order."""
        ...


def _torch(bundle: Bundle) -> Encoder:
    from sidecar.encoder.torch_graph import TorchEncoder  # noqa: PLC0415 - where torch is wanted

    return TorchEncoder(bundle)


BACKENDS: Final[dict[str, Callable[[Bundle], Encoder]]] = {"onnx": OnnxEncoder, "torch": _torch}


def load(backend: str, bundle: Bundle) -> Encoder:
    """The encoder on that backend. Raises DataError for one that is not here, EncoderError."""
    if backend not in BACKENDS:
        raise DataError(
            f"the {backend} backend can't score in this build: use --backend "
            + " or ".join(BACKENDS)
        )
    return BACKENDS[backend](bundle)
