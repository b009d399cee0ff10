"""Where callers connect: an address, the connections on it, and their end.

``HOST:PORT``, ``[IPV6]:PORT``, or ``unix:/path``. A Unix socket is for its owner alone
(mode 0600), so that who may connect is a matter of the file system.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

from sidecar.errors import SidecarError
from sidecar.listen.caller import Caller, Handler

UNIX: Final = "unix:"
_BACKLOG: Final = 1024
_OTHER: Final = "give another by --listen or --admin, or as `listen` or `admin` in the file"
_TO_DO: Final = {
    errno.EADDRINUSE: f" Another process is there: end it, or {_OTHER}.",
    errno.EADDRNOTAVAIL: f" This machine has no such address: {_OTHER}.",
    errno.EACCES: f" Ports below 1024 are for root: {_OTHER}.",
}


class BindError(SidecarError):
    """An address that cannot be listened on."""


def cannot_bind(address: str, exc: OSError) -> BindError:
    """What the system says of ``address``, in one sentence, and what to do about it."""
    if isinstance(exc, socket.gaierror):
        return BindError(f"Cannot listen on {address}: {exc.strerror}. Check the host's name.")
    # event loops put sentences of their own around the system's
    why = os.strerror(exc.errno) if exc.errno else str(exc)
    what = _TO_DO.get(exc.errno or 0, "")
    return BindError(f"Cannot listen on {address}: {why}.{what}")


class Listener:
    """Listens for callers and knows those who are connected."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.address = ""
        self._callers: set[Caller] = set()
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._closing = False

    async def listen(self, address: str, *, shared: bool = False) -> None:
        """Listen on ``address``; a port of 0 takes a free one, which ``address`` then says.

        Only workers of one sidecar share a port: for anyone else a port that is taken must
        stay an error, :class:`BindError`.
        """
        loop = asyncio.get_running_loop()
        try:
            if address.startswith(UNIX):
                if shared:
                    raise BindError("Several workers need a port: a Unix socket cannot be shared.")
                self._path = Path(address.removeprefix(UNIX))
                self._server = await loop.create_unix_server(
                    lambda: Caller(self), sock=_private(self._path), backlog=_BACKLOG
                )
                self.address = address
                return
            host, _, port = address.rpartition(":")
            host = host.strip("[]")
            self._server = await loop.create_server(
                lambda: Caller(self), host, int(port), backlog=_BACKLOG, reuse_port=shared or None
            )
        except OSError as exc:
            raise cannot_bind(address, exc) from exc
        bound = self._server.sockets[0].getsockname()[1]
        self.address = f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"

    def opened(self, caller: Caller) -> None:
        self._callers.add(caller)
        self._empty.clear()
        if self._closing:
            caller.drain()

    def closed(self, caller: Caller) -> None:
        self._callers.discard(caller)
        if not self._callers:
            self._empty.set()

    def hurry(self) -> None:
        """Let :meth:`close` wait no longer: what has not finished is cut."""
        self._empty.set()

    async def close(self, drain_s: float) -> None:
        """Accept nothing new, let answers finish for up to ``drain_s``, cut the rest."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        for caller in tuple(self._callers):
            caller.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self._empty.wait()
        await asyncio.gather(*(caller.stop() for caller in tuple(self._callers)))


def _private(path: Path) -> socket.socket:
    """A bound socket that only its owner may connect to.

    A socket file that a process left behind is replaced; one that is answered is not.
    """
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    except BaseException:
        bound.close()
        raise
    return bound
