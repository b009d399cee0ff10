"""What a policy is told beside the route's own keys: a section each, of its name."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sidecar.config.schema.base import Seconds, Section, Share

File = Annotated[str, Field(min_length=1)]  # beside the configuration


class Similarity(Section):
    library: File | None = None  # that `sidecar library build` wrote
    neighbours: Annotated[int, Field(ge=1, le=256)] = 32
    # the encoder's own probability counts as this many prompts at no distance
    trust: Annotated[float, Field(ge=0, le=1000)] = 8.0


class Cascade(Section):
    # the share of the best candidate's chance that a cheaper one must have to be tried
    try_above: Share = 0.7
    max_overhead: Annotated[float, Field(gt=0, le=1)] = 0.25  # of the better one's cost, a try
    refusals: bool = True  # check for them
    json_schema: bool = True  # check the JSON that was asked for
    min_logprob: Annotated[float, Field(le=0, allow_inf_nan=False)] | None = None
    hold_kb: Annotated[int, Field(ge=1, le=65_536)] = 256  # a longer answer is passed on unchecked
    hold_s: Seconds = 30.0  # and so is a slower one


class Ensemble(Section):
    file: File | None = None  # that `sidecar ensemble fit` wrote
