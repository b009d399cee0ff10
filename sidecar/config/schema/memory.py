"""What the process remembers between requests, and for how long."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sidecar.config.schema.base import Seconds, Section


class Sessions(Section):
    """Conversations, and what it costs to change the model in one."""

    entries: Annotated[int, Field(ge=0, le=10_000_000)] = 10_000  # 0: none is remembered
    ttl_s: Seconds = 3600.0  # since the last turn
    responses_ttl_s: Seconds = 86_400.0  # of answers that a request may name
    max_regret: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.05
    upgrades: bool = True  # a turn may go to a dearer model for its quality
    cache_ttl_s: Seconds = 300.0  # how long an upstream keeps what it has cached


class ResponseCache(Section):
    """Whole answers of one route, for the same request again."""

    ttl_s: Seconds = 600.0
    max_mb: Annotated[float, Field(gt=0, le=65_536)] = 64.0
    sampled: bool = False  # also requests whose temperature is not 0
    tools: bool = False  # also requests that offer or use tools
    shared: bool = False  # one caller's answers to another


class DecisionCache(Section):
    """The encoder's readings, by text."""

    entries: Annotated[int, Field(ge=0, le=10_000_000)] = 10_000  # 0 keeps none
    ttl_s: Seconds = 3600.0
    near: bool = True  # share a reading between texts that differ in case and digits
    common: Annotated[str, Field(min_length=1)] | None = None  # prompts to read at start
