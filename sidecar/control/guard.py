"""Who may use the admin port.

Three doors, each against someone else. A page of another site is known by what
its browser says of it, in ``Sec-Fetch-Site`` or, before it changes anything, in
``Origin``; only a link to the dashboard may be followed from there, in a window of its
own. A page whose own name was made to resolve to this machine
(DNS rebinding) counts as the same site, but its name stands in ``Host``: only
addresses, names without a dot (``localhost``, a service in its own network; nobody
can register one) and configured names are answered there. And where
``admin_token_env`` is set, whoever reaches the port must know the token, as a
bearer or, for a browser, as the password of any user. Probes need no token: the
kubelet has none, and they say nothing that is worth one; nor do the dashboard's
files, for the page asks for the token itself.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Collection
from typing import Final

from aiohttp import web

from sidecar.config.snapshot import Snapshot
from sidecar.control import pages
from sidecar.errors import Forbidden, Unauthorized
from sidecar.listen.refusal import refuse_a_page

_OPEN: Final = frozenset({"/livez", "/readyz"}) | pages.PATHS


def admit(request: web.BaseRequest, snapshot: Snapshot) -> None:
    """Pass, or raise :class:`Forbidden` or :class:`Unauthorized`."""
    if not _follows_a_link(request):
        refuse_a_page(request.headers.get("Sec-Fetch-Site"))
    host = request.headers.get("Host", "")
    origin = request.headers.get("Origin")
    # every browser sends it with what is not a plain GET; a page without a site says "null"
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        raise Forbidden("A web page of another site may not use the sidecar.", code="cross_site")
    if host and not is_ours(host, snapshot.config.admin_hosts):
        raise Forbidden(
            "The admin port does not answer to that Host. Ask by address, or add the name to "
            "`admin_hosts`.",
            code="unknown_host",
        )
    token = snapshot.admin_token
    if token is None or request.path in _OPEN:
        return
    given = password(request.headers.get("Authorization", "")).encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(given, token.reveal().encode()):
        raise Unauthorized(
            "The admin port asks for a token. Send it as `Authorization: Bearer TOKEN`.",
            code="invalid_token",
        )


def _follows_a_link(request: web.BaseRequest) -> bool:
    """Whether someone opens the dashboard, maybe by a link in a chat or a wiki.

    The page holds no figures and asks for them itself; a frame says another ``Dest``.
    """
    return (
        request.method == "GET"
        and request.path == "/"
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
        and request.headers.get("Sec-Fetch-Dest") == "document"
    )


def challenge(request: web.BaseRequest) -> str:
    """The ``WWW-Authenticate`` of a 401: a browser that navigates is told to ask for a password.

    One that runs the dashboard is not, for its own question would stand over the page's.
    """
    if request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate":
        return "Bearer"
    return 'Basic realm="sidecar admin", charset="UTF-8", Bearer'


def is_ours(host: str, named: Collection[str]) -> bool:
    """Whether a ``Host`` is an address, a name without a dot, or one of ``named``."""
    name = host.lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") <= 1:
        name = name.partition(":")[0]
    if (name.isascii() and name.replace("-", "").replace("_", "").isalnum()) or name in {
        each.lower() for each in named
    }:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def password(authorization: str) -> str:
    """The token of a bearer, or the password of basic credentials; empty for neither."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        pair = base64.b64decode(value, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return ""
    return pair.partition(":")[2]
