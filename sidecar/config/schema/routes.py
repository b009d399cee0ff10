"""Routes: a policy over some models, and rules before it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from sidecar.config.schema.base import Name, Section, Share, Usd


class When(Section):
    """What a rule asks of a request; every condition given must hold."""

    keywords: tuple[Annotated[str, Field(min_length=1)], ...] = ()  # any, ignoring case
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    needs: tuple[str, ...] = ()  # all of these capabilities
    tenant: tuple[str, ...] = ()  # one of these
    task: tuple[str, ...] = ()
    domain: tuple[str, ...] = ()
    tier: tuple[str, ...] = ()

    @field_validator("keywords", "needs", "tenant", "task", "domain", "tier", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _says_something(self) -> When:
        if not self.model_fields_set:
            raise ValueError("a rule needs at least one condition")
        return self


class Rule(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    when: When
    model: Name


class Route(Section):
    policy: Literal["fixed", "rules", "threshold", "cost_quality", "bandit"] = "cost_quality"
    models: Annotated[tuple[Name, ...], Field(min_length=1)]
    default: Name
    quality: Share = 0.97
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_cost_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # a request
    usd_per_s: Usd = 0.0  # what a second of waiting is worth
    rules: tuple[Rule, ...] = ()

    @field_validator("models")
    @classmethod
    def _once_each(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a model is named twice")
        return value
