"""What keeps the process within bounds, and what it writes down."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sidecar.config.schema.base import BaseUrl, EnvName, Seconds, Section


class Limits(Section):
    max_concurrent: Annotated[int, Field(ge=1, le=1_000_000)] = 4096  # requests, a worker
    max_body_mb: Annotated[float, Field(gt=0, le=4096)] = 64.0
    # of all requests together; without it, what the container's memory limit leaves room for
    max_bodies_mb: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    max_header_kb: Annotated[int, Field(ge=1, le=1024)] = 32
    header_timeout_s: Seconds = 10.0  # from the first byte of a head to its last
    body_timeout_s: Seconds = 30.0
    keepalive_s: Seconds = 75.0


class DecisionLog(Section):
    """One JSON line a request, without any text of it."""

    file: Annotated[str, Field(min_length=1)]  # "-" is standard output
    max_mb: Annotated[float, Field(gt=0, le=100_000)] = 100.0
    keep: Annotated[int, Field(ge=0, le=1000)] = 5  # rotated files beside it


class Dashboard(Section):
    """What the page on the admin port shows."""

    show_prompts: bool = False  # the head of each prompt beside its decision


class Log(Section):
    """What the process says of itself, on standard error."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Tracing(Section):
    """OpenTelemetry spans, sent by OTLP over HTTP."""

    endpoint: BaseUrl  # of the collector, without /v1/traces
    sample: Annotated[float, Field(ge=0, le=1)] = 1.0  # of requests whose caller did not decide
    service_name: Annotated[str, Field(min_length=1, max_length=200)] = "pointsman"
    headers_env: EnvName | None = None
    max_queue: Annotated[int, Field(ge=16, le=1_000_000)] = 2048  # spans that wait to be sent
