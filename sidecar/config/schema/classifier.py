"""The classifier's section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sidecar.config.schema.base import Listen, Section


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
