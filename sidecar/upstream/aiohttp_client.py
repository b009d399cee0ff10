"""The upstream client over aiohttp's client session.

Nothing is decoded, decompressed, redirected or remembered: no cookie jar, no
environment proxies. A POST that met a pooled connection the server had just
closed is sent again, and only if not one byte of an answer came.
"""

from __future__ import annotations

import asyncio
import io
import ssl
import time
from types import SimpleNamespace
from typing import Final

import aiohttp
from yarl import URL

from sidecar.beside import Alike
from sidecar.config.snapshot import UpstreamSpec
from sidecar.errors import UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from sidecar.upstream import base
from sidecar.upstream.base import Fields, Take

_READ_BUFFER: Final = 1 << 16  # bytes held for a slow reader before the upstream is paused
_LARGE: Final = 1 << 20
_SESSION_KEY = tuple[bool, str | None, int, float]


class _Response:
    """An aiohttp answer behind the seam."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.reason = response.reason or ""
        self.headers: Fields = response.raw_headers
        self.alike: Alike | None = None

    async def read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, ConnectionError) as exc:
            raise UpstreamBroken(f"the answer ended early ({type(exc).__name__})") from exc

    def rest(self) -> bytes | None:
        return None  # aiohttp does not say

    async def pump(self, take: Take) -> None:
        while piece := await self.read():
            wait = take(piece)
            if wait is not None:
                await wait

    def close(self) -> None:
        connection = self._response.connection
        if connection is None:  # read to its end: the pool has it already
            return
        transport = connection.transport
        if transport is not None:
            # Closing is polite and, under uvloop with TLS, may take 30 s to be
            # seen; the upstream is to stop generating now.
            transport.abort()
        self._response.close()


class AiohttpUpstreams:
    """One session for each set of connection settings, made when first needed."""

    def __init__(self) -> None:
        self._sessions: dict[_SESSION_KEY, aiohttp.ClientSession] = {}
        self._urls: dict[tuple[str, str], URL] = {}

    async def send(self, spec: UpstreamSpec, path: str, lines: bytes, body: bytes) -> _Response:
        session = self._session(spec)
        url = self._url(spec.base_url, path)
        headers = _pairs(lines)
        try:
            while True:
                pooled: list[bool] = []
                began = time.monotonic()
                try:
                    response = await session.post(
                        url, data=_payload(body), headers=headers, allow_redirects=False,
                        trace_request_ctx=pooled,
                    )  # fmt: skip
                    break
                except aiohttp.ClientConnectionError as exc:
                    # of those in the pool, several may have been closed; a fresh one that
                    # breaks is a failure: to repeat what it carried could charge twice
                    late = time.monotonic() - began > base.STALE_S
                    if not pooled or late or not _met_a_closed_connection(exc):
                        raise
        except aiohttp.ClientError as exc:
            raise _translate(exc, spec) from exc
        except TimeoutError as exc:
            raise UpstreamTimeout(f"no connection to {spec.name} in time") from exc
        except OSError as exc:
            raise UpstreamUnreachable(f"no connection to {spec.name}: {exc.strerror}") from exc
        return _Response(response)

    def prepare(self, spec: UpstreamSpec) -> None:
        self._session(spec)

    async def close(self) -> None:
        sessions, self._sessions = list(self._sessions.values()), {}
        await asyncio.gather(*(session.close() for session in sessions))

    def _session(self, spec: UpstreamSpec) -> aiohttp.ClientSession:
        tls = spec.base_url.startswith("https:")
        key = (tls, spec.ca_file, spec.max_connections, spec.timeouts.connect_s)
        session = self._sessions.get(key)
        if session is None:
            # reading the system's certificates takes tens of milliseconds
            context = ssl.create_default_context(cafile=spec.ca_file) if tls else True
            session = self._sessions[key] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    limit_per_host=spec.max_connections,
                    ssl=context,
                    keepalive_timeout=30.0,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=spec.timeouts.connect_s),
                read_bufsize=_READ_BUFFER,
                trace_configs=[_tracing()],
                trust_env=False,
            )
        return session

    def _url(self, base_url: str, path: str) -> URL:
        if "?" in path:  # a caller's query: not worth keeping, and not bounded
            return URL(base_url + path, encoded=True)
        key = (base_url, path)
        url = self._urls.get(key)
        if url is None:
            url = self._urls[key] = URL(base_url + path, encoded=True)
        return url


def _tracing() -> aiohttp.TraceConfig:
    """Tells a request's context, a list, of a connection that came out of the pool."""

    async def reused(
        session: aiohttp.ClientSession,
        context: SimpleNamespace,
        params: aiohttp.TraceConnectionReuseconnParams,
    ) -> None:
        context.trace_request_ctx.append(True)

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(reused)
    return config


def _pairs(lines: bytes) -> list[tuple[str, str]]:
    text = lines.decode("utf-8", "surrogateescape")
    split = (line.partition(":") for line in text.split("\r\n")[:-1])
    return [(name, value.strip(" \t")) for name, _, value in split]


def _payload(body: bytes) -> bytes | io.BytesIO:
    """``body`` as aiohttp wants it: beyond a megabyte, as a file that it writes in parts."""
    return body if len(body) < _LARGE else io.BytesIO(body)


def _met_a_closed_connection(exc: aiohttp.ClientConnectionError) -> bool:
    """Whether the connection was gone and not one byte of an answer had come."""
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return isinstance(exc.message, str)  # else it holds the part that came
    return isinstance(exc, aiohttp.ClientOSError) and not isinstance(
        exc, aiohttp.ClientConnectorError
    )


def _translate(exc: aiohttp.ClientError, spec: UpstreamSpec) -> UpstreamError:
    """The seam's error for aiohttp's, without a URL or a header in its text."""
    if isinstance(exc, aiohttp.ServerTimeoutError):
        return UpstreamTimeout(f"no connection to {spec.name} in time")
    if isinstance(exc, aiohttp.ClientConnectorError):
        return UpstreamUnreachable(f"no connection to {spec.name}: {exc.strerror}")
    return UpstreamBroken(f"{spec.name} broke off before it answered ({type(exc).__name__})")
