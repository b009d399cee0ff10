"""What is learnt from how answers were liked, and how long a request is remembered for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sidecar.config.schema.base import Seconds, Section


class Feedback(Section):
    """What `/v1/feedback` takes."""

    keep: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000  # requests, a worker
    keep_s: Annotated[float, Field(gt=0, le=2_592_000)] = 86_400.0
    per_second: Annotated[float, Field(gt=0, le=100_000)] = 50.0


class Learning(Section):
    """Abilities that follow the scores. A route with the policy `bandit` asks for it too."""

    file: Annotated[str, Field(min_length=1)] | None = None  # kept over restarts, beside this one
    memory: Annotated[float, Field(ge=10, le=1_000_000)] = 2000.0  # scores of a model
    regenerate_weight: Annotated[float, Field(ge=0, le=1)] = 0.1  # of a score; 0 is off
    regenerate_s: Seconds = 60.0
    seed: int | None = None  # of the bandit's draws, for drills
