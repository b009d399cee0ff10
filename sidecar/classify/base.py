"""The classifier seam: features in, a reading out, in time or not at all.

A :class:`Reader` is an encoder that can be called: it blocks, and one thread
calls it. A :class:`Classifier` is what the request path awaits: it queues,
batches, keeps the deadline and turns every failure into a
:class:`~sidecar.errors.ClassifierError`, of which the path knows what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sidecar.types import Features, Reading


class Reader(Protocol):
    """Reads prompts, in batches, blocking. Called by one thread at a time."""

    version: str

    def read(self, windows: Sequence[str]) -> list[Reading]:
        """One reading a window, in order."""
        ...


class Classifier(Protocol):
    """What the request path awaits."""

    @property
    def name(self) -> str:
        """The backend that reads now, as readiness and metrics call it."""
        ...

    @property
    def why(self) -> str:
        """Why it is that one, in words."""
        ...

    @property
    def version(self) -> str:
        """Of the encoder."""
        ...

    async def classify(self, features: Features) -> Reading:
        """A reading, or :class:`~sidecar.errors.ClassifierError`."""
        ...

    async def close(self) -> None:
        """Stop; what is asked later raises :class:`~sidecar.errors.ClassifierDown`."""
        ...
