"""The dashboard's files: read once, served from memory, and locked in.

One page of hand-written HTML, CSS and JavaScript, with nothing from elsewhere
and nothing inline, so that the policy below can forbid all else: a name that
came from a request may be shown, and can do nothing. The files hold no figures,
so they need no token; what they ask for does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import MappingProxyType
from typing import Final

from aiohttp import web

_FILES: Final = Path(__file__).parent / "static"
_TYPES: Final = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
    }
)
_HEADERS: Final = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }
)
PATHS: Final = frozenset({"/"} | {f"/static/{file.name}" for file in _FILES.iterdir()})


def routes() -> list[web.RouteDef]:
    """``/`` and ``/static/NAME``."""
    made = [web.get(f"/static/{file.name}", _serve(file)) for file in sorted(_FILES.iterdir())]
    return [web.get("/", _serve(_FILES / "index.html")), *made]


def _serve(file: Path) -> Callable[[web.Request], Awaitable[web.Response]]:
    body = file.read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = {**_HEADERS, "Content-Type": _TYPES[file.suffix], "ETag": tag}

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers)

    return answer
