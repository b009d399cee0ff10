"""The lean upstream client: keep-alive pools of raw connections.

One pool for each origin and its settings. A request takes the connection that
was used last (the least likely to have been closed by now), or opens one. A POST
that met a pooled connection the server had just closed is sent once more, on a
fresh connection, and only if not one byte of an answer came: a fresh connection
that breaks, or an old one that held for a while, is a failure and not a stale one,
and repeating what it carried could charge twice.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from sidecar.config.snapshot import UpstreamSpec
from sidecar.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from sidecar.upstream import base
from sidecar.upstream.base import Fields, Take
from sidecar.upstream.connection import Connection, head_of

_SPECS: Final = 256  # whose pool is known at once
_IDLE_S: Final = 30.0  # below the idle limits of common servers and load balancers


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a base URL leads, worked out once."""

    name: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    authority: bytes  # the Host header
    prefix: bytes  # the path of the base URL
    connect_s: float
    limit: int


class _Response:
    """An answer behind the seam."""

    __slots__ = ("_connection", "_open", "_pool", "alike", "headers", "reason", "status")

    def __init__(self, connection: Connection, pool: _Pool) -> None:
        self._connection = connection
        self._pool = pool
        self._open = True
        self.status = connection.status
        self.reason = connection.reason
        self.headers: Fields = connection.headers
        self.alike = connection.alike

    def read(self) -> Coroutine[Any, Any, bytes]:
        return self._connection.read()

    def rest(self) -> bytes | None:
        return self._connection.rest()

    def pump(self, take: Take) -> Coroutine[Any, Any, None]:
        return self._connection.pump(take)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._pool.give_back(self._connection)


class _Pool:
    """The connections to one origin."""

    def __init__(self, origin: _Origin) -> None:
        self.origin = origin
        self._idle: deque[Connection] = deque()
        self._all: set[Connection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._sweeper: asyncio.TimerHandle | None = None

    async def send(self, target: bytes, lines: bytes, body: bytes) -> _Response:
        head = head_of(target, self.origin.authority, lines, len(body))
        idle = self._idle
        connection = idle.pop() if idle and idle[-1].reusable else await self._take()
        try:
            stale, began = connection.exchanges > 0, self._loop.time()
            try:
                await connection.exchange(head, body)
            except UpstreamBroken:
                late = self._loop.time() - began > base.STALE_S
                if not stale or late or connection.heard:
                    raise
                self._forget(connection)
                connection = await self._open()
                await connection.exchange(head, body)
        except BaseException:
            connection.abort()
            raise
        return _Response(connection, self)

    async def _take(self) -> Connection:
        while True:
            while self._idle:
                connection = self._idle.pop()
                if connection.reusable:
                    return connection
                connection.abort()
            if len(self._all) + self._opening < self.origin.limit:
                return await self._open()
            turn = self._loop.create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._next_turn()  # the turn was given and will not be used
                raise

    async def _open(self) -> Connection:
        origin = self.origin
        opened = False
        self._opening += 1
        try:
            async with asyncio.timeout(origin.connect_s):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self._forget),
                    origin.host,
                    origin.port,
                    ssl=origin.tls,
                    server_hostname=origin.host if origin.tls else None,
                )
            opened = True
        except TimeoutError:
            raise UpstreamTimeout(f"no connection to {origin.name} in time") from None
        except ssl.SSLCertVerificationError as exc:
            why = f"the certificate of {origin.name} is not to be trusted: {exc.verify_message}"
            raise UpstreamUnreachable(why) from None
        except OSError as exc:
            why = exc.strerror or type(exc).__name__
            raise UpstreamUnreachable(f"no connection to {origin.name}: {why}") from None
        finally:
            self._opening -= 1
            if not opened:
                self._next_turn()  # there is room for one more, and nobody gives it back
        self._all.add(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep it for the next request if its answer was read whole, else cut it."""
        if not connection.reusable or connection not in self._all:
            connection.abort()
            self._forget(connection)
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_IDLE_S, self._sweep)
        self._next_turn()

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._next_turn()

    def _next_turn(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _sweep(self) -> None:
        """Close what has been idle too long; the oldest is on the left."""
        self._sweeper = None
        now = self._loop.time()
        while self._idle and now - self._idle[0].idle_since >= _IDLE_S:
            self._idle.popleft().abort()
        if self._idle:
            wait = self._idle[0].idle_since + _IDLE_S - now
            self._sweeper = self._loop.call_later(max(0.1, wait), self._sweep)

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._all):
            connection.abort()


class LeanUpstreams:
    """Pools by upstream settings, made when first needed."""

    def __init__(self) -> None:
        self._pools: dict[tuple[str, str | None, int, float], _Pool] = {}
        self._of: dict[int, tuple[UpstreamSpec, _Pool]] = {}  # by the identity of a spec

    def send(
        self, spec: UpstreamSpec, path: str, lines: bytes, body: bytes
    ) -> Coroutine[Any, Any, _Response]:
        pool = self._pool(spec)
        return pool.send(pool.origin.prefix + path.encode("ascii"), lines, body)

    def prepare(self, spec: UpstreamSpec) -> None:
        self._pool(spec)

    async def close(self) -> None:
        pools, self._pools = list(self._pools.values()), {}
        self._of.clear()
        for pool in pools:
            pool.close()
        await asyncio.sleep(0)  # let the transports say goodbye

    def _pool(self, spec: UpstreamSpec) -> _Pool:
        found = self._of.get(id(spec))
        if found is not None and found[0] is spec:
            return found[1]
        key = (spec.base_url, spec.ca_file, spec.max_connections, spec.timeouts.connect_s)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = _Pool(_origin(spec))
        if len(self._of) >= _SPECS:  # those of configurations that are gone
            self._of.clear()
        self._of[id(spec)] = spec, pool
        return pool


def _origin(spec: UpstreamSpec) -> _Origin:
    parts = urlsplit(spec.base_url)
    tls = None
    if parts.scheme == "https":
        tls = ssl.create_default_context(cafile=spec.ca_file)
        tls.set_alpn_protocols(["http/1.1"])
    return _Origin(
        name=spec.name,
        host=parts.hostname or "",
        port=parts.port or (443 if tls else 80),
        tls=tls,
        authority=parts.netloc.rpartition("@")[2].encode(
            "idna" if not parts.netloc.isascii() else "ascii"
        ),
        prefix=parts.path.encode("ascii"),
        connect_s=spec.timeouts.connect_s,
        limit=spec.max_connections,
    )
