"""The upstream seam: a request's bytes out, an answer's bytes back.

An upstream client knows HTTP and nothing of routing. It raises only
:class:`~sidecar.errors.UpstreamError`, and an answer that is not read to its end
is aborted, so that the upstream stops generating what nobody will read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from sidecar.beside import Alike
from sidecar.config.snapshot import UpstreamSpec

Fields = Sequence[tuple[bytes, bytes]]
# What takes an answer's pieces. Where it gives back an awaitable, the next piece waits.
Take = Callable[[bytes], Awaitable[None] | None]


# A pooled connection that was closed as a request went out shows it within a round trip. One
# that is lost later was being answered: to ask again could charge twice.
STALE_S: Final = 5.0


class UpstreamResponse(Protocol):
    """An answer whose head has come and whose body is still to be read."""

    status: int
    reason: str
    headers: Fields
    alike: Alike | None  # only where it is whole

    async def read(self) -> bytes:
        """The next bytes as they came, or ``b""`` at the end of a whole body.

        Raises :class:`~sidecar.errors.UpstreamBroken` where the body ends early.
        """
        ...

    def rest(self) -> bytes | None:
        """All that is left of the body, where it has come whole already; else None."""
        ...

    async def pump(self, take: Take) -> None:
        """Hand ``take`` every further piece as it comes, up to the end of a whole body.

        Raises as :meth:`read` does, and what ``take`` raises.
        """
        ...

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else abort it."""
        ...


class Upstreams(Protocol):
    """Pooled connections to every upstream of a configuration."""

    def send(
        self, spec: UpstreamSpec, path: str, lines: bytes, body: bytes
    ) -> Coroutine[Any, Any, UpstreamResponse]:
        """POST ``body`` to ``spec.base_url + path`` and await the answer's head.

        ``lines`` are the headers, each with its CR LF, but for those that belong to the
        connection: the client adds ``Host`` and the body's length.
        """
        ...

    def prepare(self, spec: UpstreamSpec) -> None:
        """Do now what the first request to ``spec`` would otherwise wait for.

        Raises OSError where its certificates cannot be read.
        """
        ...

    async def close(self) -> None: ...
