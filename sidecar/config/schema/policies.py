"""What a policy is told beside the route's own keys: a section each, of its name."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sidecar.config.schema.base import Section

File = Annotated[str, Field(min_length=1)]  # beside the configuration


class Similarity(Section):
    library: File | None = None  # that `sidecar library build` wrote
    neighbours: Annotated[int, Field(ge=1, le=256)] = 32
    # the encoder's own probability counts as this many prompts at no distance
    trust: Annotated[float, Field(ge=0, le=1000)] = 8.0


class Ensemble(Section):
    file: File | None = None  # that `sidecar ensemble fit` wrote
