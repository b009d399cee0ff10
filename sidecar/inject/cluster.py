"""The two objects of the API server that the keeper reads and writes, over its REST API.

With the service account's token, which the kubelet renews in place, and no
right beyond ``get`` and ``update`` or ``patch`` of these two by name.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import aiohttp

from sidecar.errors import SidecarError

_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_WEBHOOKS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


class ClusterError(SidecarError):
    """The API server did not do what was asked; ``conflict`` if someone else was first."""

    def __init__(self, message: str, *, conflict: bool = False) -> None:
        super().__init__(message)
        self.conflict = conflict


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret's data, and the version that an update must name."""

    data: Mapping[str, bytes]
    manifest: dict[str, Any]


class Cluster:
    """A client of the API server. ``async with Cluster() as cluster``."""

    def __init__(self, url: str | None = None, account: Path = _ACCOUNT) -> None:
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{x}", "") for x in ("HOST", "PORT"))
        if url is None and not host:
            raise ClusterError("There is no API server here: --self-signed is for inside a pod.")
        host = f"[{host}]" if ":" in host else host
        self._url = url or f"https://{host}:{port}"
        self._account = account
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Cluster:
        try:
            trust = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
        except OSError as exc:
            raise ClusterError(f"{self._account / 'ca.crt'} cannot be read: {exc}") from None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust), timeout=_TIMEOUT
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def secret(self, namespace: str, name: str) -> Secret:
        manifest = await self._ask("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        try:
            data = {
                key: base64.b64decode(text) for key, text in (manifest.get("data") or {}).items()
            }
        except (binascii.Error, AttributeError, TypeError):
            data = {}
        return Secret(data, manifest)

    async def update(self, secret: Secret, data: Mapping[str, bytes]) -> None:
        """Write ``data``; :class:`ClusterError` with ``conflict`` if it changed meanwhile."""
        meta = secret.manifest["metadata"]
        encoded = {key: base64.b64encode(text).decode() for key, text in data.items()}
        path = f"/api/v1/namespaces/{meta['namespace']}/secrets/{meta['name']}"
        await self._ask("PUT", path, {**secret.manifest, "data": encoded})

    async def trust(self, webhook: str, authorities: bytes) -> bool:
        """Have the API server trust ``authorities`` for all of a configuration's webhooks.

        Whether it did not already.
        """
        config = await self._ask("GET", f"{_WEBHOOKS}/{webhook}")
        bundle = base64.b64encode(authorities).decode()
        stale = [
            each["name"]
            for each in config.get("webhooks") or []
            if each.get("clientConfig", {}).get("caBundle") != bundle
        ]
        if stale:
            change = [{"name": name, "clientConfig": {"caBundle": bundle}} for name in stale]
            await self._ask("PATCH", f"{_WEBHOOKS}/{webhook}", {"webhooks": change})
        return bool(stale)

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        assert self._session is not None
        kind = "strategic-merge-patch+json" if method == "PATCH" else "json"
        try:
            token = (self._account / "token").read_text().strip()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": f"application/{kind}"}
            async with self._session.request(
                method, self._url + path, headers=headers, json=body
            ) as answer:
                said = await answer.json(content_type=None) if answer.status != 401 else None
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise ClusterError(f"{method} {path}: {type(exc).__name__}: {exc}") from None
        if answer.status >= 300 or not isinstance(said, dict):
            detail = said.get("message", "") if isinstance(said, dict) else ""
            message = f"{method} {path}: {answer.status} {detail}".rstrip()
            raise ClusterError(message, conflict=answer.status == 409)
        return said
