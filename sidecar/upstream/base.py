"""The upstream seam: a request's bytes out, an answer's bytes back.

An upstream client knows HTTP and nothing of routing. It raises only
:class:`~sidecar.errors.UpstreamError`, and an answer that is not read to its end
is aborted, so that the upstream stops generating what nobody will read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sidecar.config.snapshot import UpstreamSpec

Headers = Sequence[tuple[str, str]]


class UpstreamResponse(Protocol):
    """An answer whose head has come and whose body is still to be read."""

    status: int
    reason: str
    headers: Headers

    async def read(self) -> bytes:
        """The next bytes as they came, or ``b""`` at the end of a whole body.

        Raises :class:`~sidecar.errors.UpstreamBroken` where the body ends early.
        """
        ...

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else abort it."""
        ...


class Upstreams(Protocol):
    """Pooled connections to every upstream of a configuration."""

    async def send(
        self, spec: UpstreamSpec, path: str, headers: Headers, body: bytes
    ) -> UpstreamResponse:
        """POST ``body`` to ``spec.base_url + path`` and await the answer's head."""
        ...

    def prepare(self, spec: UpstreamSpec) -> None:
        """Do now what the first request to ``spec`` would otherwise wait for.

        Raises OSError where its certificates cannot be read.
        """
        ...

    async def close(self) -> None: ...
