"""A deterministic mock upstream that speaks OpenAI chat completions.

One process serves several models, each at its own pace, on 127.0.0.1 only: the
time to the first token and the tokens per second of a :class:`MockModel`, divided
by ``speed`` (0: no waiting at all). Every request is kept as an
:class:`Exchange`, body and headers as they came, so that a test can ask what
really went up and how it ended. ``faults`` may answer in the mock's place, or
change, delay or cut any event of a stream.

Alone: ``python -m sidecar.demo.mock --port 0`` prints one line of JSON with its
URL, and stops on SIGTERM, at the end of its standard input if that is a pipe,
or when its parent is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import stat
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

import orjson
from aiohttp import web

from sidecar.demo import answers, roster, tokens, wire
from sidecar.demo.roster import DEFAULT_MODELS, MockModel
from sidecar.demo.wire import Refusal
from sidecar.errors import SidecarError

HOST: Final = "127.0.0.1"
_STDIN: Final = 0
_MAX_BODY: Final = 256 << 20
_NAP_S: Final = 0.002  # a wait shorter than this is not worth a timer


@dataclass(slots=True, eq=False)
class Exchange:
    """One request as it came, and how its answer went. Tests read it; nothing else does."""

    number: int
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    began: float  # time.monotonic()
    model: str = ""
    status: int = 0
    events: int = 0  # of the stream, sent so far
    ended: str = "open"  # complete | refused | hang-up | cut
    ended_at: float | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def header(self, name: str) -> str | None:
        """The first header of this name, in any case."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)


class Faults(Protocol):
    """A script of misbehaviour; the mock itself never misbehaves."""

    async def on_request(
        self, exchange: Exchange, request: web.Request
    ) -> web.StreamResponse | None:
        """An answer of its own, sent instead of the mock's; None leaves it to the mock."""
        ...

    async def on_event(self, exchange: Exchange, event: bytes) -> bytes | None:
        """What to send for the next event of a stream; None cuts the connection there."""
        ...


class MockUpstream:
    """The mock as a server in the running event loop; also an async context manager."""

    def __init__(
        self,
        models: Sequence[MockModel] = DEFAULT_MODELS,
        *,
        speed: float = 1.0,
        api_key: str | None = None,
        faults: Faults | None = None,
        headers: Mapping[str, str] | None = None,
        keep: int = 1000,
    ) -> None:
        self.models = roster.by_name(models)
        self.speed = speed
        self.api_key = api_key
        self.faults = faults
        self.headers = dict(headers or {})  # sent with every answer of the mock's own
        self.exchanges: deque[Exchange] = deque(maxlen=keep)
        self.served = 0
        self.port = 0
        self._arrival = asyncio.Event()
        self._cache = tokens.PrefixCache()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The base URL, as a client's ``base_url`` wants it."""
        return f"http://{HOST}:{self.port}/v1"

    async def start(self, port: int = 0) -> str:
        """Bind, serve, and return :attr:`url`. Port 0 takes a free one."""
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.25
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, port, backlog=1024).start()
        self.port = self._runner.addresses[0][1]
        return self.url

    async def stop(self) -> None:
        """Close every connection and the socket; requests in flight are cut."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def arrival(self, number: int) -> Exchange:
        """Request ``number`` (from 0), once it has come."""
        while self.served <= number:
            await self._arrival.wait()
        return next(e for e in self.exchanges if e.number == number)

    async def __aenter__(self) -> MockUpstream:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        exchange = Exchange(
            number=self.served,
            method=request.method,
            path=request.path_qs,
            headers=tuple(request.headers.items()),
            body=b"",
            began=time.monotonic(),
        )
        self.served += 1
        self.exchanges.append(exchange)
        self._arrival.set()
        self._arrival = asyncio.Event()
        try:
            exchange.body = await request.read()
            answer = await self.faults.on_request(exchange, request) if self.faults else None
            if answer is None:
                answer = await self._answer(exchange, request)
            exchange.status = answer.status
            exchange.ended = "complete" if exchange.ended == "open" else exchange.ended
        except Refusal as exc:
            exchange.status, exchange.ended = exc.status, "refused"
            answer = web.Response(
                status=exc.status,
                body=exc.body(),
                headers=self.headers,
                content_type="application/json",
            )
        except (asyncio.CancelledError, ConnectionError):
            exchange.ended = "hang-up"
            raise
        finally:
            exchange.ended_at = time.monotonic()
            exchange.over.set()
        return answer

    async def _answer(self, exchange: Exchange, request: web.Request) -> web.StreamResponse:
        self._authorise(request)
        match request.method, request.path:
            case "GET", "/v1/models":
                rows = [{"id": name, "object": "model", "owned_by": "mock"} for name in self.models]
                return _json({"object": "list", "data": rows})
            case "POST", "/v1/chat/completions":
                return await self._chat(exchange, request)
            case method, path:
                raise Refusal(404, f"Invalid URL ({method} {path})", code="unknown_url")
        raise AssertionError("unreachable")

    def _authorise(self, request: web.Request) -> None:
        if self.api_key is None:
            return
        if request.headers.get("Authorization", "") != f"Bearer {self.api_key}":
            raise Refusal(401, "Incorrect API key provided.", code="invalid_api_key")

    async def _chat(self, exchange: Exchange, request: web.Request) -> web.StreamResponse:
        began = time.monotonic()
        body = wire.read(exchange.body)
        exchange.model = body["model"]
        model = self.models.get(body["model"])
        if model is None:
            message = f"The model `{body['model']}` does not exist"
            raise Refusal(404, message, param="model", code="model_not_found")
        prompt = tokens.prompt_tokens(body)
        wire.admit(model, body, prompt)
        answer = answers.compose(model, body)
        cached = self._cache.look_up(model.name, body, prompt)
        bill = wire.Bill(prompt, cached, answer.tokens)
        reply = wire.reply(model, answer, bill, body, raw=exchange.body, nth=exchange.number)
        if body.get("stream") is True:
            return await self._stream(exchange, request, model, reply, began)
        await self._until(began, model, answer.tokens)
        return web.Response(
            body=reply.body(), headers=self.headers, content_type="application/json"
        )

    async def _stream(
        self,
        exchange: Exchange,
        request: web.Request,
        model: MockModel,
        reply: wire.Reply,
        began: float,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Cache-Control": "no-cache", **self.headers})
        response.content_type = "text/event-stream"
        response.charset = "utf-8"
        exchange.status = 200
        await self._until(began, model, 0)
        await response.prepare(request)
        for event in reply.events():
            await self._until(began, model, event.tokens)
            data: bytes | None = event.data
            if self.faults is not None:
                data = await self.faults.on_event(exchange, event.data)
            if data is None:
                exchange.ended = "cut"
                if request.transport is not None:
                    request.transport.abort()
                return response
            await response.write(data)
            exchange.events += 1
        await response.write_eof()
        return response

    async def _until(self, began: float, model: MockModel, out: float) -> None:
        """Wait for the moment at which ``model`` would have ``out`` tokens out."""
        if self.speed <= 0:
            return
        due = began + (model.first_token_s + out / model.tokens_per_s) / self.speed
        left = due - time.monotonic()
        if left > _NAP_S:
            await asyncio.sleep(left)


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


async def serve(args: argparse.Namespace) -> None:
    """Serve until told to stop, as the module's docstring says."""
    key = None
    if args.api_key_env is not None:
        key = os.environ.get(args.api_key_env)
        if not key:
            raise SidecarError(f"the variable {args.api_key_env} is not set")
    models = roster.load(args.models) if args.models else DEFAULT_MODELS
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if _is_leash(_STDIN):
        loop.add_reader(_STDIN, _read_leash, stop)
    parent = os.getppid()
    upstream = MockUpstream(models, speed=args.speed, api_key=key)
    try:
        await upstream.start(args.port)
        print(json.dumps({"url": upstream.url, "models": list(upstream.models)}), flush=True)
        while not stop.is_set() and os.getppid() == parent:
            try:
                await asyncio.wait_for(stop.wait(), timeout=0.5)
            except TimeoutError:
                continue
    finally:
        await upstream.stop()


def _is_leash(fd: int) -> bool:
    """Whether this input ends when whoever started us does: a pipe, not /dev/null."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _read_leash(stop: asyncio.Event) -> None:
    if not os.read(_STDIN, 4096):
        stop.set()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sidecar.demo.mock", description="A mock upstream on 127.0.0.1."
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (the default)")
    parser.add_argument("--models", type=Path, metavar="FILE", help="a JSON list of models")
    parser.add_argument("--speed", type=float, default=1.0, help="times as fast; 0: no waiting")
    parser.add_argument("--api-key-env", metavar="NAME", help="demand the key in this variable")
    parser.add_argument("--nice", type=int, default=0, help="yield the processor to others")
    args = parser.parse_args(argv)
    if args.nice > 0:
        os.nice(args.nice)
    factory = None
    if sys.platform != "win32":
        import uvloop  # noqa: PLC0415  # not there on Windows

        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serve(args))
    except (SidecarError, OSError) as exc:
        print(f"mock: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
