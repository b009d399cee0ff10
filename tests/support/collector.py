"""A real OTLP receiver: takes spans over HTTP as a collector does, and keeps them."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Seen:
    """One span, with its attributes as Python values."""

    name: str
    trace: str
    span: str
    parent: str
    kind: int  # 1 internal, 2 server, 3 client
    error: bool
    began: int
    ended: int
    attributes: dict[str, Any]
    service: str


@dataclass
class Collector:
    """Listens on 127.0.0.1; answers with ``status``, after ``delay_s``."""

    status: int = 200
    delay_s: float = 0.0
    spans: list[Seen] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        await asyncio.sleep(self.delay_s)
        self.headers.append(dict(request.headers))
        if self.status == 200:
            plain = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
            self.raw.append(plain)
            self._read(ExportTraceServiceRequest.FromString(plain))
        return web.Response(
            status=self.status,
            body=ExportTraceServiceResponse().SerializeToString(),
            content_type="application/x-protobuf",
        )

    def _read(self, said: Any) -> None:
        for resource in said.resource_spans:
            service = attributes(resource.resource.attributes).get("service.name", "")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Seen(
                            name=span.name,
                            trace=span.trace_id.hex(),
                            span=span.span_id.hex(),
                            parent=span.parent_span_id.hex(),
                            kind=span.kind,
                            error=span.status.code == 2,
                            began=span.start_time_unix_nano,
                            ended=span.end_time_unix_nano,
                            attributes=attributes(span.attributes),
                            service=service,
                        )
                    )


def attributes(pairs: Any) -> dict[str, Any]:
    """OTLP's key-value pairs as a dict."""

    def plain(value: Any) -> Any:
        kind = value.WhichOneof("value")
        if kind == "array_value":
            return [plain(each) for each in value.array_value.values]
        return getattr(value, kind)

    return {pair.key: plain(pair.value) for pair in pairs}
