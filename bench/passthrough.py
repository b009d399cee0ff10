"""The yardstick: a plain pass-through as aiohttp's documentation would have you write it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

UPSTREAM = web.AppKey("upstream", str)
SESSION = web.AppKey("session", aiohttp.ClientSession)


async def forward(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    headers = {"Content-Type": "application/json"}
    url = request.app[UPSTREAM] + request.path
    async with request.app[SESSION].post(url, data=body, headers=headers) as answer:
        if answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            response = web.StreamResponse(
                status=answer.status, headers={"Content-Type": "text/event-stream"}
            )
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response
        return web.Response(
            status=answer.status, body=await answer.read(), content_type="application/json"
        )


async def session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession() as one:
        app[SESSION] = one
        yield


def main() -> None:
    port, upstream = int(sys.argv[1]), sys.argv[2]
    app = web.Application()
    app[UPSTREAM] = upstream
    app.cleanup_ctx.append(session)
    app.router.add_post("/{path:.*}", forward)
    web.run_app(
        app, host="127.0.0.1", port=port, access_log=None, print=None, loop=uvloop.new_event_loop()
    )


if __name__ == "__main__":
    main()
