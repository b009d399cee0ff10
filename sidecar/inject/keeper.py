"""Keeps the webhook's own certificates: made once, shared by the replicas, renewed in time.

The replicas share a Secret, and whoever writes it first wins: an update names
the version it read, and the API server refuses the second. Each turn ends with
the API server trusting the authorities and the files on disk being those of the
Secret, in this order: nothing is served that is not trusted yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sidecar.inject.certificates import Credentials, renewed
from sidecar.inject.cluster import Cluster, ClusterError, Secret
from sidecar.inject.tls import CERTIFICATE, KEY

log = logging.getLogger("sidecar.inject")

_EVERY_S: Final = 60.0
_SOON_S: Final = 2.0  # after a turn that failed
_FIELDS: Final = (
    ("ca.crt", "authorities"),
    ("ca.key", "authority_key"),
    (CERTIFICATE, "certificate"),
    (KEY, "key"),
)


@dataclass(frozen=True, slots=True)
class Keeper:
    """``names`` are those that the API server asks by: SERVICE.NAMESPACE.svc."""

    cluster: Cluster
    namespace: str
    secret: str
    webhook: str
    names: Sequence[str]
    folder: Path
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def run(self, kept: Callable[[], None]) -> None:
        """Take turns until cancelled; ``kept`` is called after each good one."""
        while True:
            wait = _EVERY_S
            try:
                await self.turn()
                kept()
            except (ClusterError, OSError) as exc:  # of the API server, or of our own files
                wait = _SOON_S
                if not (isinstance(exc, ClusterError) and exc.conflict):
                    log.warning("the certificates could not be kept: %s", exc)
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311  # apart, not secret

    async def turn(self) -> None:
        """Renew what is due, publish it, and put it where the server finds it."""
        found = await self.cluster.secret(self.namespace, self.secret)
        held = _credentials(found)
        fresh = renewed(held, self.names, self.now())
        if fresh is not None:
            data = {key: getattr(fresh, field) for key, field in _FIELDS}
            await self.cluster.update(found, data)
            log.info("renewed the certificates in the secret %s", self.secret)
        current = fresh or held
        assert current is not None
        if await self.cluster.trust(self.webhook, current.authorities):
            log.info("the API server trusts the authority in %s", self.webhook)
        self._write(current)

    def _write(self, current: Credentials) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in ((KEY, current.key), (CERTIFICATE, current.certificate)):
            file = self.folder / name
            with contextlib.suppress(OSError):
                if file.read_bytes() == text:
                    continue
            partial = file.with_suffix(".new")
            partial.touch(mode=0o600)
            partial.write_bytes(text)
            partial.replace(file)


def _credentials(secret: Secret) -> Credentials | None:
    if any(key not in secret.data for key, _ in _FIELDS):
        return None
    return Credentials(**{field: secret.data[key] for key, field in _FIELDS})
