"""Upstreams and models: who answers, where, and for how much."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from sidecar.config.schema.base import (
    BaseUrl,
    EnvName,
    HeaderName,
    Name,
    Seconds,
    Section,
    Share,
    Usd,
    matching,
)
from sidecar.config.schema.overrides import Overrides
from sidecar.dialects import DIALECTS
from sidecar.dialects.base import CAPABILITIES


class Timeouts(Section):
    connect_s: Seconds = 5.0
    first_content_s: Seconds = 120.0
    idle_s: Seconds = 60.0
    total_s: Seconds | None = None


HeaderValue = Annotated[
    str,
    matching(
        r"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?",
        "write printable ASCII on one line, without spaces at its ends",
    ),
]
QueryName = Annotated[
    str, matching(r"[\x21-\x7e]{1,128}", "write printable ASCII without spaces, 128 at most")
]
# Of the connection, of the body, or of the router: not for a configuration to say.
_NOT_YOURS: Final = frozenset(
    {
        "connection", "content-encoding", "content-length", "expect", "host", "keep-alive",
        "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip


class Upstream(Section):
    base_url: BaseUrl
    replicas: tuple[BaseUrl, ...] = ()  # further addresses of the same upstream
    api_key_env: EnvName | None = None
    api_key_file: str | None = None
    dialect: Literal["openai", "anthropic"] = "openai"
    auth: Literal["bearer", "x-api-key", "api-key", "none", "passthrough"] | None = None
    # sent to it in place of what the caller sends under these names
    headers: dict[HeaderName, HeaderValue] = Field(default={})
    headers_env: dict[HeaderName, EnvName] = Field(default={})
    query: dict[QueryName, str] = Field(default={})
    query_env: dict[QueryName, EnvName] = Field(default={})
    ca_file: str | None = None
    stream_usage: bool = True  # ask streamed completions for their token count
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 2000
    timeouts: Timeouts = Timeouts()
    retries: Annotated[int, Field(ge=0, le=5)] = 0  # of a model none of whose addresses answered
    retry_budget: Share = 0.2  # of its requests that may be asked again at another address or time
    hedge_after_s: Seconds | None = None  # without content, before the next address is asked too

    @field_validator("headers", "headers_env")
    @classmethod
    def _of_the_upstream(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name.lower() in _NOT_YOURS or name.lower().startswith("x-router-"):
                raise ValueError(f"`{name}` is not a header that a configuration may set")
        return value

    @model_validator(mode="after")
    def _each_once(self) -> Upstream:
        for kind, given, secret in (
            ("headers", self.headers, self.headers_env),
            ("query", self.query, self.query_env),
        ):
            names = [name.lower() if kind == "headers" else name for name in (*given, *secret)]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{kind} and {kind}_env name {twice} twice")
        return self

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
    cache_write: Usd | None = None


class Prices(Section):
    """A file of prices, watched: it stands before the prices of the models."""

    file: Annotated[str, Field(min_length=1)]  # beside the configuration
    check_s: Seconds = 10.0


class Model(Section):
    upstream: Name
    upstream_model: str | None = None  # the model's own name where it differs
    ability: str | None = None  # whose ability it has, by the catalogue's name
    price: Price | None = None  # required, unless the price file has it
    context: Annotated[int, Field(ge=1)] = 8192
    capabilities: tuple[str, ...] = ()
    dialects: tuple[str, ...] | None = None  # those its upstream's dialect implies
    overrides: Overrides | None = None  # what is changed in requests that go here

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
