"""What is changed in the requests that go to one model."""

from __future__ import annotations

import json
from typing import Annotated

import orjson
from pydantic import Field, JsonValue, field_validator, model_validator

from sidecar.config.schema.base import Section
from sidecar.dialects.overrides import RESERVED

Text = Annotated[str, Field(min_length=1, max_length=100_000)]
Parameter = Annotated[str, Field(min_length=1, max_length=100)]


class SystemPrompt(Section):
    """One of the two."""

    prefix: Text | None = None
    replace: Text | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> SystemPrompt:
        if (self.prefix is None) is (self.replace is None):
            raise ValueError("give prefix or replace, one of them")
        return self


class Overrides(Section):
    system_prompt: SystemPrompt | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    reasoning_effort: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    drop: tuple[Parameter, ...] = ()
    rename: dict[Parameter, Parameter] = Field(default={})
    set: dict[Parameter, JsonValue] = Field(default={})

    @field_validator("drop", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("set")
    @classmethod
    def _sayable(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        try:
            json.dumps(value, allow_nan=False)
            orjson.dumps(value)
        except (TypeError, ValueError):
            raise ValueError(
                "one of these values is none of JSON's: an infinity, or a number that is too large"
            ) from None
        return value

    @model_validator(mode="after")
    def _parameters_only(self) -> Overrides:
        for name in (*self.drop, *self.rename, *self.rename.values(), *self.set):
            if name in RESERVED:
                raise ValueError(f"{name!r} is no parameter: it is the router's or the app's own")
        if len({*self.rename.values()}) != len(self.rename):
            raise ValueError("two parameters are renamed to one")
        return self
