"""Trying another decision: beside the one that acts, or on a share of the traffic."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sidecar.config.schema.base import Name, Section

CONTROL = "control"


class Arm(Section):
    """Another route's decisions, or this route's by another policy."""

    percent: Annotated[float, Field(gt=0, le=100)]
    route: Name | None = None
    policy: str | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Arm:
        if (self.route is None) == (self.policy is None):
            raise ValueError("an arm needs `route` or `policy`, one of them")
        return self


class Split(Section):
    """Shares of a route's traffic; what no arm takes is the arm `control`, the route itself."""

    by: Literal["session", "tenant", "request"] = "session"
    salt: Annotated[str, Field(max_length=64)] = ""  # another one draws the shares anew
    arms: Annotated[dict[Name, Arm], Field(min_length=1)]

    @model_validator(mode="after")
    def _within_the_whole(self) -> Split:
        if sum(arm.percent for arm in self.arms.values()) > 100 + 1e-9:
            raise ValueError("the arms take more than 100 percent")
        if CONTROL in self.arms:
            raise ValueError(f"{CONTROL!r} is what no arm takes: give the arm another name")
        return self
