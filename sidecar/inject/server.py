"""The webhook's HTTP: reviews over TLS, and probes and metrics beside it.

``POST /inject`` takes a review; what is none gets a 4xx with a sentence. A body
is bounded, a head that does not come is not waited for, and no pod's content is
in a log: only its namespace, its name and what was decided.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from aiohttp import web

from sidecar import __version__
from sidecar.errors import BadRequest, BodyTooLarge, RequestError, trace
from sidecar.inject import review
from sidecar.inject.settings import Settings
from sidecar.inject.tls import ServingCertificate
from sidecar.listen.http_server import Server
from sidecar.listen.refusal import error_answer, new_request_id
from sidecar.observe.metrics import Registry

log = logging.getLogger("sidecar.inject")

PATH: Final = "/inject"
MAX_BODY: Final = 4 * 1024 * 1024  # an object of the API server has 3 MB at most
_MAX_HEAD: Final = 32 * 1024
_HEADER_TIMEOUT_S: Final = 10.0
_BOUNDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 3.0)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Webhook:
    """Answers reviews, and says how it is."""

    def __init__(
        self, settings: Settings, certificate: ServingCertificate, own_namespace: str = ""
    ) -> None:
        self.settings = settings
        self.certificate = certificate
        self.own_namespace = own_namespace
        self.draining = False
        self.trusted = True  # False until the API server has been told whom to trust
        self.metrics = made = Registry()
        self._reviews = made.counter(
            "inject_reviews", "Reviews, by what was decided.", ("decision",)
        )
        self._refused = made.counter("inject_refused", "Requests that were no review.", ("status",))
        self._time = made.histogram(
            "inject_review_seconds", "From a whole body to its answer.", (), _BOUNDS
        )
        made.gauge(
            "inject_certificate_expires_seconds",
            "When the serving certificate ends, Unix time; 0 without one.",
            read=self._ends,
        )
        made.gauge("inject_ready", "1 while reviews are to be sent here.", read=lambda: self.ready)

    @property
    def ready(self) -> bool:
        return self.certificate.loaded and self.trusted and not self.draining

    def _ends(self) -> float:
        expires = self.certificate.expires
        return expires.timestamp() if expires else 0.0

    def reviewing(self) -> web.Application:
        """What the API server reaches."""
        app = web.Application(middlewares=[self._errors], client_max_size=MAX_BODY)
        app.add_routes([web.post(PATH, self._review), web.get("/healthz", self._healthz)])
        return app

    def probing(self) -> web.Application:
        """What the kubelet and Prometheus reach."""
        app = web.Application(middlewares=[self._errors])
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
            ]
        )
        return app

    async def _review(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            raise BadRequest("Send an AdmissionReview with Content-Type: application/json.")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise BodyTooLarge(f"The review is larger than {MAX_BODY >> 20} MB.") from None
        began = time.perf_counter()
        answer = review.answer(body, self.settings, self.own_namespace)
        self._time.observe((), time.perf_counter() - began)
        self._reviews.add((answer.injection.reason,))
        log.info("%s: %s", answer.pod, answer.injection.reason)
        response = web.Response(body=answer.body, content_type="application/json")
        if self.draining:  # the next one goes to another replica
            response.force_close()
        return response

    async def _healthz(self, request: web.Request) -> web.Response:
        return _json({"status": "alive", "version": __version__})

    async def _readyz(self, request: web.Request) -> web.Response:
        expires = self.certificate.expires
        state = {
            "ready": self.ready,
            "draining": self.draining,
            "certificate": expires.isoformat() if expires else None,
            "trusted": self.trusted,
        }
        return _json(state, status=200 if self.ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self.metrics.exposition(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    def refused(self, status: int, code: str | None) -> None:
        self._refused.add((str(status),))

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RequestError as exc:
            fault = exc
        except web.HTTPException as exc:
            fault = RequestError(f"{exc.reason}: POST a review to {PATH}.")
            fault.status = exc.status
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as exc:
            log.error("a review failed: %s", trace(exc))
            fault = RequestError("The webhook failed.")
        self.refused(fault.status, fault.code)
        head, body = error_answer(None, fault, new_request_id())
        response = web.Response(
            status=fault.status, body=body, headers=head, content_type="application/json"
        )
        if isinstance(fault, BodyTooLarge):
            response.force_close()
        return response


class Runner(web.AppRunner):
    """Runs one of the applications over the server that the sidecar's own ports have."""

    def __init__(self, app: web.Application, refused: Callable[[int, str | None], None]) -> None:
        app.on_response_prepare.append(_unsigned)
        super().__init__(app, access_log=None, shutdown_timeout=10.0)
        self._refused = refused

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return Server(
            made.request_handler,
            request_factory=made.request_factory,
            header_timeout_s=_HEADER_TIMEOUT_S,
            max_head=_MAX_HEAD,
            refused=self._refused,
        )


async def _unsigned(request: web.BaseRequest, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)


def _json(value: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
