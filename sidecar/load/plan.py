"""The plan of a load run: the file, its defaults, and its faults.

    target: {url: http://127.0.0.1:8080/v1, model: auto}
    direct: {url: http://127.0.0.1:9001/v1, models: {small: llama-3.1-8b}}
    load: {rate: 20, duration_s: 20, rounds: 3}
    scenarios: {short_chat: 3, long_context: 1}
    objectives: {decision_p99_ms: 10, added_first_content_p99_ms: 15, error_rate: 0.001}

Without ``target`` the run brings its own sidecar and mock models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError, field_validator, model_validator

from sidecar.config import yamlfile
from sidecar.config.faults import in_order, of_validation
from sidecar.config.schema.base import BaseUrl, EnvName, Name, Section, Usd
from sidecar.errors import ConfigError
from sidecar.load.scenarios import SCENARIOS

_Ms = Annotated[float, Field(ge=0, le=3_600_000, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1)]


class Target(Section):
    """The deployment that is judged."""

    url: BaseUrl
    model: Name = "auto"  # a route, as callers would name it
    api_key_env: EnvName | None = None


class Direct(Section):
    """The same models without the sidecar: what "added" is measured against."""

    url: BaseUrl
    api_key_env: EnvName | None = None
    models: dict[Name, str] = Field(default={})  # x-router-model -> the name asked for there


class Load(Section):
    rate: Annotated[float, Field(gt=0, le=10_000)] = 20.0  # requests a second, on average
    duration_s: Annotated[float, Field(gt=0, le=86_400)] = 20.0  # of one leg of one round
    rounds: Annotated[int, Field(ge=1, le=100)] = 3
    warm_up: Annotated[int, Field(ge=0, le=10_000)] = 20  # requests before, not counted
    stream: _Share = 0.5  # of the requests
    repeat: _Share = 0.0  # of the prompts, sent before: what a decision cache could know
    max_in_flight: Annotated[int, Field(ge=1, le=20_000)] = 1000
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    seed: int = 1


class Price(Section):
    """USD per million tokens."""

    input: Usd
    output: Usd
    cached_input: Usd | None = None


class Objectives(Section):
    """What must hold; an objective that is not given is not judged."""

    decision_p50_ms: _Ms | None = None
    decision_p99_ms: _Ms | None = None
    first_content_p50_ms: _Ms | None = None
    first_content_p99_ms: _Ms | None = None
    added_first_content_p50_ms: _Ms | None = None  # these need `direct`
    added_first_content_p99_ms: _Ms | None = None
    added_gap_p50_ms: _Ms | None = None
    added_gap_p99_ms: _Ms | None = None
    error_rate: _Share | None = None
    cost_share: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = (
        None  # of always-strong; needs `prices`
    )
    usd_per_1000: Usd | None = None  # requests; needs `prices`

    @property
    def given(self) -> dict[str, float]:
        """The objectives that are asked for, in the order of the file."""
        return {k: v for k, v in self.model_dump().items() if v is not None}


class Plan(Section):
    target: Target | None = None
    direct: Direct | None = None
    load: Load = Load()
    scenarios: dict[str, Annotated[float, Field(gt=0, le=1e6)]] = Field(
        default={"mixed_difficulty": 1.0}, min_length=1
    )  # name: weight
    prices: dict[Name, Price] = Field(default={})
    objectives: Objectives

    @field_validator("scenarios")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value:
            if name not in SCENARIOS:
                raise ValueError(f"{name!r} is unknown; use {', '.join(SCENARIOS)}")
        return value

    @field_validator("objectives")
    @classmethod
    def _something(cls, value: Objectives) -> Objectives:
        if not value.given:
            raise ValueError("no objective is given: there is nothing to judge")
        return value

    @model_validator(mode="after")
    def _measurable(self) -> Plan:
        if self.target is None:
            if self.direct is not None:
                raise ValueError("`direct` without `target`: a run of its own brings both")
            return self
        for name in self.objectives.given:
            if name.startswith("added_") and self.direct is None:
                raise ValueError(f"{name} needs `direct`: what is added is a difference to it")
            if name in {"cost_share", "usd_per_1000"} and not self.prices:
                raise ValueError(f"{name} needs `prices`, by the names of x-router-model")
        return self


_KEYS: Final = sorted(
    {
        field
        for section in (Target, Direct, Load, Price, Objectives, Plan)
        for field in section.model_fields
    }
)


def load(path: Path, url: str | None = None) -> Plan:
    """Read and check ``path``; ``url`` stands in place of the target's.

    Raises :class:`ConfigError` with every fault, file and line.
    """
    document = yamlfile.load(path)
    value: Any = document.value
    if not isinstance(value, dict):
        raise ConfigError([document.fault((), "must be a mapping of sections")])
    if url is not None:
        target = value.get("target")
        value = {**value, "target": {**(target if isinstance(target, dict) else {}), "url": url}}
    try:
        return Plan.model_validate(value)
    except ValidationError as exc:
        if url is not None and any(error["loc"] == ("target", "url") for error in exc.errors()):
            raise ConfigError(
                [f"--url: {url!r} is no base URL such as http://127.0.0.1:8080/v1"]
            ) from None
        raise ConfigError(in_order(of_validation(document, exc, _KEYS))) from None
