"""The classifier's section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sidecar.config.schema.base import Name, Seconds, Section, Server


class Triton(Section):
    url: Server = "127.0.0.1:8001"  # gRPC
    model: Name = "router"  # its models are this, "_" and a length: router_64
    # its share of the classifier's deadline; 0.6 of that unless given
    deadline_ms: Annotated[float, Field(gt=0, le=10_000)] | None = None
    in_flight: Annotated[int, Field(ge=1, le=10_000)] = 64  # calls at once, late ones included
    fallback: Literal["onnx", "none"] = "onnx"  # reads while the server can't
    trip_after: Annotated[int, Field(ge=1, le=20)] = 5  # failures of the last 20 calls
    recheck_s: Seconds = 10.0  # how often a good server's models are compared again


class Classifier(Section):
    backend: Literal["auto", "triton", "onnx", "heuristic"] = "auto"
    deadline_ms: Annotated[float, Field(gt=0, le=10_000)] = 8.0
    max_batch_tokens: Annotated[int, Field(ge=256, le=1_000_000)] = 4096
    max_queue: Annotated[int, Field(ge=1, le=100_000)] = 512
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    claims: Literal["ignore", "read"] = "ignore"  # what a prompt says of how hard it is
    triton: Triton | None = None

    @property
    def reads_claims(self) -> bool:
        """What :func:`~sidecar.features.features_of` is told of them."""
        return self.claims == "read"

    @model_validator(mode="after")
    def _a_share_of_the_deadline(self) -> Classifier:
        own = self.triton.deadline_ms if self.triton else None
        if own is not None and own > self.deadline_ms:
            raise ValueError("triton.deadline_ms is a part of deadline_ms and can't be longer")
        return self
