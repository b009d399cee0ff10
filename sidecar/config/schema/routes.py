"""Routes: a policy over some models, and rules before it."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, field_validator, model_validator

from sidecar.config.patterns import usable
from sidecar.config.schema.base import HeaderName, Name, Section, Share, Usd, Word, matching
from sidecar.config.schema.experiments import Split
from sidecar.config.schema.memory import ResponseCache
from sidecar.config.schema.policies import Cascade, Ensemble, Similarity

Clock = Annotated[
    str,
    matching(r"([01][0-9]|2[0-3]):[0-5][0-9]", "write a time of the day in quotes, as in '09:30'"),
]
_SECRET: Final = frozenset({"authorization", "x-api-key", "api-key", "cookie"})


Regex = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(usable)]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"no time zone is called {name!r}; write it like Europe/Berlin") from None
    return name


class TimeWindow(Section):
    """Some hours of some days; ``end`` is not in it, and may be of the next day."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()  # every
    start: Clock = "00:00"
    end: Clock = "00:00"  # the same as `start`: the whole day
    zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"


class When(Section):
    """What a rule asks of a request; every condition given must hold."""

    keywords: tuple[Annotated[str, Field(min_length=1)], ...] = ()  # any, ignoring case
    regex: tuple[Regex, ...] = ()  # any
    headers: dict[HeaderName, tuple[str, ...]] = Field(default={})  # each one of; "*" is any
    time: TimeWindow | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    needs: tuple[str, ...] = ()  # all of these capabilities
    tenant: tuple[str, ...] = ()  # one of these
    task: tuple[str, ...] = ()
    domain: tuple[str, ...] = ()
    tier: tuple[str, ...] = ()

    @field_validator(
        "keywords", "regex", "needs", "tenant", "task", "domain", "tier", mode="before"
    )
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("headers", mode="before")
    @classmethod
    def _one_value_or_many(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: (v,) if isinstance(v, str) else v for name, v in value.items()}

    @field_validator("headers")
    @classmethod
    def _no_credential(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name in value:
            if name.lower() in _SECRET:
                raise ValueError(f"a rule may not look at {name}: it carries a credential")
        return value

    @model_validator(mode="after")
    def _says_something(self) -> When:
        if not self.model_fields_set:
            raise ValueError("a rule needs at least one condition")
        return self


class Rule(Section):
    name: Word
    when: When
    model: Name


class Route(Section):
    policy: Literal[
        "fixed", "rules", "threshold", "cost_quality", "similarity", "bandit", "ensemble", "cascade"
    ] = "cost_quality"
    models: Annotated[tuple[Name, ...], Field(min_length=1)]
    default: Name
    quality: Share = 0.97
    worth_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # in its place
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_cost_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # a request
    usd_per_s: Usd = 0.0  # what a second of waiting is worth
    rules: tuple[Rule, ...] = ()
    similarity: Similarity = Similarity()
    ensemble: Ensemble = Ensemble()
    shadow: Name | None = None  # a route whose decisions are logged beside those that act
    split: Split | None = None
    cascade: Cascade = Cascade()
    response_cache: ResponseCache | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> Route:
        if self.worth_usd is None:
            return self
        if "quality" in self.model_fields_set:
            raise ValueError("says both `quality` and `worth_usd`: keep one of the two")
        if self.policy in ("fixed", "rules", "threshold"):
            raise ValueError(f"the policy `{self.policy}` does not look at `worth_usd`")
        return self

    @field_validator("models")
    @classmethod
    def _once_each(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a model is named twice")
        return value
