"""Budgets: how much may be spent, by whom, in what time, and what happens then."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from sidecar.config.schema.base import EnvName, Seconds, Section, Word, matching


class Budget(Section):
    per: Literal["tenant", "key", "route", "all"]
    only: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = ()  # else each
    period: Literal["day", "month"]  # of UTC
    usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    tokens: Annotated[int, Field(gt=0)] | None = None
    at_limit: Literal["cheapest", "refuse", "warn"] = "cheapest"

    @field_validator("only", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _limits_something(self) -> Budget:
        if self.usd is None and self.tokens is None:
            raise ValueError("a budget needs `usd` or `tokens`")
        if self.per == "all" and self.only:
            raise ValueError("`per: all` is one budget for everyone: remove `only`")
        return self


class Redis(Section):
    """A Redis or Valkey server that several sidecars share."""

    url: Annotated[
        str,
        matching(
            r"rediss?://[^\s/?#@]+(/[0-9]+)?",
            "write redis://host:port or rediss://host:port, and /1 after it for database 1; "
            "a password goes by password_env",
        ),
    ]
    username: str | None = None
    password_env: EnvName | None = None
    prefix: Word = "pointsman"
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 1.0


class Spending(Section):
    """Where what was spent is kept. Never asked while a request waits."""

    file: Annotated[str, Field(min_length=1)] = "spending.sqlite"  # beside this one
    redis: Redis | None = None  # in place of the file
    every_s: Annotated[Seconds, Field(ge=0.05, le=60)] = 1.0
