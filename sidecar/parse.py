"""From a request's bytes to a :class:`~sidecar.types.Call`. Pure."""

from __future__ import annotations

from dataclasses import field

from sidecar.dialects.base import Dialect, input_bound
from sidecar.dialects.body import model_span, parse_object
from sidecar.errors import BadRequest
from sidecar.frozen import dataclass
from sidecar.headers import RequestHead
from sidecar.hints import hints
from sidecar.types import Call


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came, body and all."""

    request_id: str
    dialect: Dialect
    head: RequestHead
    body: bytes = field(repr=False)
    query: str = ""


def parse(received: Received) -> Call:
    """What the request asks; :class:`BadRequest` with a sentence where it cannot be read."""
    check_content_type(received.head)
    wishes = hints(received.head.router)
    body = parse_object(received.body)
    asked = received.dialect.read(body)
    return Call(
        request_id=received.request_id,
        dialect=received.dialect.name,
        model=asked.model,
        body=received.body,
        model_span=model_span(received.body),
        stream=asked.stream,
        prompt=asked.prompt,
        needs=asked.needs,
        input_tokens=input_bound(len(received.body), asked),
        max_output_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
        stateful=asked.stateful,
        continues=asked.continues,
        largest_tokens=asked.largest_tokens,
        choices=asked.choices,
        hints=wishes,
        passed=received.head.passed,
        query=received.query,
        usage_edit=received.dialect.usage_edit(received.body, body),
    )


def check_content_type(head: RequestHead) -> None:
    """JSON, or nothing said: curl's default is a form, and a form is refused."""
    value = head.said.get(b"content-type")
    if value is None or value == b"application/json":
        return
    kind = value.decode("utf-8", "replace").split(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise BadRequest(
            f"The content type is {kind[:80]!r}. Send `Content-Type: application/json`.",
            code="unsupported_content_type",
        )
