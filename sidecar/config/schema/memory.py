"""What the process remembers between requests, and for how long."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sidecar.config.schema.base import Seconds, Section


class DecisionCache(Section):
    """The encoder's readings, by text."""

    entries: Annotated[int, Field(ge=0, le=10_000_000)] = 10_000  # 0 keeps none
    ttl_s: Seconds = 3600.0
    near: bool = True  # share a reading between texts that differ in case and digits
    common: Annotated[str, Field(min_length=1)] | None = None  # prompts to read at start
