"""The part of an API server that the keeper speaks to, with its rules about versions.

There is no real one to be had here: this stands in for it, over TLS, with a token,
optimistic locking on updates, and a strategic merge of webhooks by name.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import ssl
from pathlib import Path
from typing import Any

from aiohttp import web

from sidecar.inject.certificates import Credentials

TOKEN = "token-of-the-webhook"
SECRET = "/api/v1/namespaces/pointsman/secrets/pointsman-webhook-tls"
HOOK = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/pointsman-webhook"


class KubeApi:
    """Two objects; ``asked`` is every request, as (method, path)."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {
            SECRET: {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": "pointsman-webhook-tls",
                    "namespace": "pointsman",
                    "resourceVersion": "1",
                },
                "type": "Opaque",
            },
            HOOK: {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": "pointsman-webhook", "resourceVersion": "1"},
                "webhooks": [
                    {"name": f"{each}.inject.pointsman.dev", "clientConfig": {"service": {}}}
                    for each in ("namespace", "pod")
                ],
            },
        }
        self.asked: list[tuple[str, str]] = []
        self.down = False
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, folder: Path, made: Credentials) -> None:
        """Listen with ``made`` for 127.0.0.1's name; write a service account to ``folder``."""
        (folder / "ca.crt").write_bytes(made.authorities)
        (folder / "token").write_text(TOKEN)
        for name, text in (("tls.crt", made.certificate), ("tls.key", made.key)):
            (folder / name).write_bytes(text)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = f"https://localhost:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path))
        if self.down:
            return _status(503, "the server is down")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _status(401, "Unauthorized")
        held = self.objects.get(request.path)
        if held is None:
            return _status(404, "not found")
        if request.method == "GET":
            answer = web.json_response(copy.deepcopy(held))
            await asyncio.sleep(0.01)  # two who read now have read the same
            return answer
        body = await request.json()
        if request.method == "PUT":
            if body["metadata"].get("resourceVersion") != held["metadata"]["resourceVersion"]:
                return _status(409, "the object has been modified")
            self._store(request.path, body)
        elif request.headers["Content-Type"] == "application/strategic-merge-patch+json":
            merged = copy.deepcopy(held)
            for change in body["webhooks"]:
                (hook,) = (each for each in merged["webhooks"] if each["name"] == change["name"])
                hook["clientConfig"] |= change["clientConfig"]
            self._store(request.path, merged)
        else:
            return _status(415, "unsupported")
        return web.json_response(self.objects[request.path])

    def _store(self, path: str, value: dict[str, Any]) -> None:
        version = int(self.objects[path]["metadata"]["resourceVersion"]) + 1
        value["metadata"]["resourceVersion"] = str(version)
        self.objects[path] = value

    @property
    def secret(self) -> dict[str, bytes]:
        data = self.objects[SECRET].get("data") or {}
        return {name: base64.b64decode(text) for name, text in data.items()}

    @property
    def bundles(self) -> list[bytes]:
        """What each webhook trusts."""
        hooks = self.objects[HOOK]["webhooks"]
        return [base64.b64decode(each["clientConfig"].get("caBundle", "")) for each in hooks]


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "message": message, "code": code}, status=code)
