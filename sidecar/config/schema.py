"""The shape of the configuration file.

Unknown keys are errors, secrets come only by environment variable or file, and
every default stands here. These models only say what a file may contain; what
the request path reads is the :mod:`sidecar.config.snapshot` compiled from them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from sidecar.dialects import DIALECTS
from sidecar.dialects.base import CAPABILITIES

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$", max_length=200)]


def _a_real_port(address: str) -> str:
    if int(address.rpartition(":")[2]) > 65_535:
        raise ValueError("the port is over 65535")
    return address


Listen = Annotated[
    str,
    Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$"),
    AfterValidator(_a_real_port),
]
BaseUrl = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")]
Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Triton(Section):
    url: Listen = "127.0.0.1:8001"
    model: str = "router"


class Classifier(Section):
    backend: Literal["auto", "triton", "onnx", "heuristic"] = "auto"
    deadline_ms: Annotated[float, Field(gt=0, le=10_000)] = 8.0
    max_batch_tokens: Annotated[int, Field(ge=256, le=1_000_000)] = 4096
    max_queue: Annotated[int, Field(ge=1, le=100_000)] = 512
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    triton: Triton | None = None


class Timeouts(Section):
    connect_s: Seconds = 5.0
    first_content_s: Seconds = 120.0
    idle_s: Seconds = 60.0


class Upstream(Section):
    base_url: BaseUrl
    replicas: tuple[BaseUrl, ...] = ()  # further addresses of the same upstream
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    api_key_file: str | None = None
    dialect: Literal["openai", "anthropic"] = "openai"
    auth: Literal["bearer", "x-api-key", "none", "passthrough"] | None = None
    ca_file: str | None = None
    stream_usage: bool = True  # ask chat streams for their token count
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 2000
    timeouts: Timeouts = Timeouts()

    @model_validator(mode="after")
    def _one_source_of_the_key(self) -> Upstream:
        if self.api_key_env and self.api_key_file:
            raise ValueError("give api_key_env or api_key_file, not both")
        if self.auth in {"none", "passthrough"} and (self.api_key_env or self.api_key_file):
            raise ValueError(f"auth: {self.auth} sends no key of its own: remove the api_key line")
        return self


class Price(Section):
    """USD per million tokens."""

    input: Usd
    output: Usd
    cached_input: Usd | None = None


class Model(Section):
    upstream: Name
    upstream_model: str | None = None  # the model's own name where it differs
    ability: str | None = None  # whose ability it has, by the catalogue's name
    price: Price
    context: Annotated[int, Field(ge=1)] = 8192
    capabilities: tuple[str, ...] = ()
    dialects: tuple[str, ...] | None = None  # those its upstream's dialect implies

    @field_validator("dialects")
    @classmethod
    def _spoken(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in value or ():
            if name not in DIALECTS:
                raise ValueError(f"{name!r} is unknown; use {', '.join(DIALECTS)}")
        return value

    @field_validator("capabilities")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in CAPABILITIES:
                raise ValueError(f"{name!r} is unknown; use {', '.join(CAPABILITIES)}")
        return value


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
    policy: Literal["fixed", "threshold", "cost_quality"] = "cost_quality"
    models: Annotated[tuple[Name, ...], Field(min_length=1)]
    default: Name
    quality: Share = 0.97
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    rules: tuple[Rule, ...] = ()

    @field_validator("models")
    @classmethod
    def _once_each(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a model is named twice")
        return value


class Limits(Section):
    max_concurrent: Annotated[int, Field(ge=1, le=1_000_000)] = 4096  # requests, a worker
    max_body_mb: Annotated[float, Field(gt=0, le=4096)] = 64.0
    max_header_kb: Annotated[int, Field(ge=1, le=1024)] = 32
    header_timeout_s: Seconds = 10.0  # from the first byte of a head to its last
    body_timeout_s: Seconds = 30.0
    keepalive_s: Seconds = 75.0


class DecisionLog(Section):
    """One JSON line a request, without any text of it."""

    file: Annotated[str, Field(min_length=1)]  # "-" is standard output
    max_mb: Annotated[float, Field(gt=0, le=100_000)] = 100.0
    keep: Annotated[int, Field(ge=0, le=1000)] = 5  # rotated files beside it


class Config(Section):
    listen: Listen = "127.0.0.1:8080"
    admin: Listen = "127.0.0.1:9090"
    # what callers must send as their key, where `listen` is not theirs alone
    listen_token_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    classifier: Classifier = Classifier()
    abilities: str | None = None  # a file that `sidecar fit` wrote, beside this one
    upstreams: Annotated[dict[Name, Upstream], Field(min_length=1)]
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    routes: dict[Name, Route] = {}
    upstream_client: Literal["lean", "aiohttp"] = "lean"
    decision_log: DecisionLog | None = None
    limits: Limits = Limits()
    drain_s: Seconds = 30.0
