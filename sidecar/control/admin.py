"""The admin server: probes, metrics, reload, the kill switch, explain, scores, the dashboard.

It listens on its own port, so that what is for the operator is never one
mistake away from what is for the app. Nothing here is on the request path:
plain aiohttp.web serves it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import orjson
from aiohttp import web

from sidecar import __version__, headers
from sidecar.account import feedback_entry
from sidecar.control import guard, pages
from sidecar.control.explain import explain, seed_of
from sidecar.dialects import DIALECTS
from sidecar.dialects.body import parse_object
from sidecar.errors import BadRequest, ConfigError, NotFound, RequestError
from sidecar.listen.http_server import Server
from sidecar.listen.listener import cannot_bind
from sidecar.listen.refusal import error_answer, new_request_id
from sidecar.parse import Received
from sidecar.reload import live
from sidecar.reload.fleet import Fleet
from sidecar.runtime import Mode, Runtime

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_RUNTIME: Final = web.AppKey("runtime", Runtime)
_FLEET: Final = web.AppKey("fleet", Fleet)
_LISTEN: Final = web.AppKey("listen", str)
_MAX_BODY: Final = 8 * 1024 * 1024
_MAX_HEAD: Final = 32 * 1024
_HEADER_TIMEOUT_S: Final = 10.0


def admin_app(runtime: Runtime, fleet: Fleet, listen: str) -> web.Application:
    """The admin port's application; ``fleet`` are the other workers, if there are any.

    ``listen`` is where apps connect, for the dashboard to say.
    """
    app = probes_app(runtime, fleet)
    app[_LISTEN] = listen
    app.add_routes(
        [
            web.post("/admin/reload", reload),
            web.get("/admin/kill-switch", kill_switch),
            web.post("/admin/kill-switch", kill_switch_on),
            web.delete("/admin/kill-switch", kill_switch_off),
            web.post("/admin/explain", explain_request),
            web.post("/v1/feedback", feedback),
            web.get("/admin/budgets", budgets),
            web.get("/admin/live", live_view),
            *pages.routes(),
        ]
    )
    return app


def probes_app(runtime: Runtime, fleet: Fleet) -> web.Application:
    """What a kubelet and a scraper ask, on an address that others reach: it changes nothing."""
    app = web.Application(middlewares=[_errors], client_max_size=_MAX_BODY)
    app.on_response_prepare.append(_unsigned)
    app[_RUNTIME] = runtime
    app[_FLEET] = fleet
    app.add_routes(
        [
            web.get("/livez", livez),
            web.get("/readyz", readyz),
            web.get("/metrics", metrics),
        ]
    )
    return app


class AdminRunner(web.AppRunner):
    """Runs the admin application over the server that the public port has."""

    async def listen(self, address: str) -> str:
        """Listen on ``host:port``; the address with the port that the system gave.

        Raises :class:`~sidecar.listen.listener.BindError`.
        """
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        try:
            await web.TCPSite(self, host, int(port)).start()
        except OSError as exc:
            raise cannot_bind(address, exc) from exc
        bound = self.addresses[-1][1]
        shown = f"[{host}]" if ":" in host else host
        return f"{shown}:{bound}"

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return Server(
            made.request_handler,
            request_factory=made.request_factory,
            header_timeout_s=_HEADER_TIMEOUT_S,
            max_head=_MAX_HEAD,
            refused=_uncounted,
        )


def _uncounted(status: int, code: str | None) -> None:
    """``router_refused`` counts what apps send, not what an operator does."""


async def _unsigned(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """No answer says what software wrote it; aiohttp would, with its version."""
    response.headers.popall("Server", None)


async def livez(request: web.Request) -> web.Response:
    return _json({"status": "alive", "version": __version__})


async def readyz(request: web.Request) -> web.Response:
    runtime = request.app[_RUNTIME]
    snapshot = runtime.snapshot
    ready = [runtime.mode is Mode.READY]
    if ready[0]:
        ready += [bool(answer.get("ready")) for answer in await _tell(request, do="state")]
    state: dict[str, Any] = {
        "mode": str(runtime.mode),
        "backend": runtime.classifier.name,
        "backend_why": runtime.classifier.why,
        "encoder": runtime.classifier.version,
        "kill_switch": runtime.pinned,
        "workers": len(ready),
        "config": {"generation": snapshot.generation, "hash": snapshot.digest},
    }
    return _json(state, status=200 if all(ready) else 503)


async def metrics(request: web.Request) -> web.Response:
    others = [answer["metrics"] for answer in await _tell(request, do="metrics")]
    return web.Response(
        body=request.app[_RUNTIME].telemetry.exposition(others),
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )


async def reload(request: web.Request) -> web.Response:
    runtime = request.app[_RUNTIME]
    reloads = runtime.telemetry.reloads
    try:
        snapshot = runtime.reload()
    except ConfigError as exc:
        reloads.add(("refused",))
        kept = runtime.snapshot.generation
        return _json({"faults": exc.faults, "kept_generation": kept}, status=400)
    reloads.add(("taken",))
    faults = [
        fault for each in await _tell(request, do="reload") for fault in each.get("faults", ())
    ]
    if faults:  # the file changed while it was being read
        return _json({"faults": faults, "reload_again": True}, status=400)
    return _json(
        {
            "generation": snapshot.generation,
            "hash": snapshot.digest,
            "warnings": list(snapshot.warnings),
        }
    )


async def kill_switch(request: web.Request) -> web.Response:
    return _json({"model": request.app[_RUNTIME].pinned})


async def kill_switch_on(request: web.Request) -> web.Response:
    body = parse_object(await request.read())
    model = body.get("model")
    if not isinstance(model, str):
        raise BadRequest('Send {"model": NAME} with a configured model\'s name.', param="model")
    request.app[_RUNTIME].pin(model)
    await _tell(request, do="pin", model=model)
    return _json({"model": model})


async def kill_switch_off(request: web.Request) -> web.Response:
    request.app[_RUNTIME].unpin()
    await _tell(request, do="pin", model=None)
    return _json({"model": None})


async def explain_request(request: web.Request) -> web.Response:
    """The chain of reasons for a request body as an app would send it."""
    runtime = request.app[_RUNTIME]
    body = await request.read()
    seed = seed_of(body)
    received = Received(
        request_id=f"explain-{seed:016x}",  # which a split by request goes by
        dialect=DIALECTS["chat"],
        head=headers.read(request.raw_headers),
        body=body,
    )
    look = partial(runtime.view, seed=seed)
    story = await explain(received, runtime.snapshot, runtime.classifier, look, runtime.recall)
    return _json(story)


async def feedback(request: web.Request) -> web.Response:
    """A score of an answer, 0 (bad) to 1 (good), by the request id that came with it."""
    runtime = request.app[_RUNTIME]
    body = parse_object(await request.read())
    name, score = body.get("request_id"), body.get("score")
    if not isinstance(name, str) or not name:
        raise BadRequest(
            "`request_id` must be the x-router-request-id of an answer.", param="request_id"
        )
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise BadRequest("`score` must be a number from 0 (bad) to 1 (good).", param="score")
    if runtime.learning is None:
        raise NotFound("No request is remembered yet.", code="request_not_found")
    scored = await runtime.learning.score(name, float(score), request.app[_FLEET].tell)
    if runtime.decisions is not None:
        runtime.decisions.write(feedback_entry(scored))
    return _json(
        {
            "request_id": name,
            "model": scored.answered.model,
            "route": scored.answered.route,
            "learnt": scored.learnt,
            "why": scored.why,
        }
    )


async def live_view(request: web.Request) -> web.Response:
    """What the dashboard shows: figures, health, the decisions since ``after``."""
    seen = live.read_cursor(request.query.get("after", ""))
    others = await _tell(request, do="live", seen=seen)
    return _json(live.live(request.app[_RUNTIME], request.app[_LISTEN], seen, others))


async def budgets(request: web.Request) -> web.Response:
    """Every budget, and who has used how much of it."""
    ledger = request.app[_RUNTIME].budgets
    if ledger is None:
        return _json({"budgets": [], "store_up": None})
    return _json({"budgets": ledger.table(), "store_up": ledger.reached})


async def _tell(request: web.Request, **command: Any) -> list[dict[str, Any]]:
    """The other workers' answers to a command."""
    return await request.app[_FLEET].tell(**command)


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        guard.admit(request, request.app[_RUNTIME].snapshot)
        return await handler(request)
    except RequestError as exc:
        fault = exc
    except web.HTTPRequestEntityTooLarge:
        fault = BadRequest(f"The body is larger than {_MAX_BODY >> 20} MB.")
    except web.HTTPException as exc:
        # without the path: what is posted here by mistake may hold a key
        fault = RequestError(f"{exc.reason}: the admin port has no such thing.")
        fault.status = exc.status
    head, body = error_answer(None, fault, new_request_id())
    if fault.status == 401:
        head["WWW-Authenticate"] = guard.challenge(request)
    return web.Response(
        status=fault.status, body=body, headers=head, content_type="application/json"
    )


def _json(value: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
