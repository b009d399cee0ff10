"""The dashboard's files: read once, served from memory, and locked in.

One page of hand-written HTML, CSS and JavaScript with nothing from elsewhere. What
the first paint waits for, the style and the choice of theme, is put into the page
as it is read, so that it comes in one answer; the policy allows these two by their
hashes and forbids all else inline. A name that came from a request may be shown, and
can do nothing. The files hold no figures, so they need no token; what they ask for does.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
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
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }
)
_POLICY: Final = (
    "default-src 'none'; script-src 'self'{script}; style-src {style}; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# in the page's source: what is put in its place is the file
_STYLES: Final = re.compile(r'(?:<link rel="stylesheet" href="/static/[a-z]+\.css">\s*)+')
_SCRIPT: Final = re.compile(r'<script src="/static/([a-z]+\.js)"></script>')
_INLINE: Final = frozenset({"page.css", "parts.css", "theme.js", "index.html"})
PATHS: Final = frozenset(
    {"/"} | {f"/static/{file.name}" for file in _FILES.iterdir() if file.name not in _INLINE}
)


def routes() -> list[web.RouteDef]:
    """``/`` and ``/static/NAME``."""
    names = sorted(path.rpartition("/")[2] for path in PATHS if path != "/")
    alone = _POLICY.format(script="", style="'none'")
    files = [
        web.get(f"/static/{name}", _serve(_FILES / name, (_FILES / name).read_bytes(), alone))
        for name in names
    ]
    body, policy = page()
    return [web.get("/", _serve(_FILES / "index.html", body, policy)), *files]


def page() -> tuple[bytes, str]:
    """The page with its style and its first script inside, and the policy that knows both."""
    source = (_FILES / "index.html").read_text(encoding="utf-8")
    linked = _STYLES.search(source)
    asked = _SCRIPT.search(source)
    assert linked is not None
    assert asked is not None
    sheets = re.findall(r"/static/([a-z]+\.css)", linked[0])
    style = "".join((_FILES / name).read_text(encoding="utf-8") for name in sheets)
    script = (_FILES / asked[1]).read_text(encoding="utf-8")
    source = source.replace(linked[0], f"<style>{style}</style>\n")
    source = source.replace(asked[0], f"<script>{script}</script>")
    policy = _POLICY.format(script=f" {_allowed(script)}", style=_allowed(style))
    return source.encode(), policy


def _allowed(text: str) -> str:
    """A Content-Security-Policy's name for exactly this text."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _serve(
    file: Path, body: bytes, policy: str
) -> Callable[[web.Request], Awaitable[web.Response]]:
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers: Mapping[str, str] = {
        **_HEADERS,
        "Content-Security-Policy": policy,
        "Content-Type": _TYPES[file.suffix],
        "ETag": tag,
    }

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers)

    return answer
