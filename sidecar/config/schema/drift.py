"""When the traffic is taken to have changed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sidecar.config.schema.base import Section


class Drift(Section):
    """Windows of requests, each compared with the reference window."""

    window: Annotated[int, Field(ge=50, le=1_000_000)] = 2000  # requests, a worker
    alarm: Annotated[float, Field(gt=0, le=100)] = 0.25  # of the population stability index
    reference: Annotated[str, Field(min_length=1)] | None = None  # a file that keeps the first one
