"""A real ``sidecar inject serve``, and a client that asks it as an API server does."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import yaml

from sidecar.inject.certificates import Credentials, renewed
from sidecar.inject.patch import apply
from tests.support.pods import review

GENEROUS = 60.0
NAME = "pointsman-webhook.pointsman.svc"  # by which an API server asks


def credentials(names: tuple[str, ...] = (NAME,), old: Credentials | None = None) -> Credentials:
    made = renewed(old, names, datetime.now(UTC))
    assert made is not None
    return made


def put(folder: Path, made: Credentials) -> None:
    """As a kubelet does: the two files change at once, by a swap of what is pointed at."""
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.iterdir()))
    version = folder / f"..{number}"
    version.mkdir()
    (version / "tls.crt").write_bytes(made.certificate)
    (version / "tls.key").write_bytes(made.key)
    link = folder / "..new"
    link.symlink_to(version.name)
    link.replace(folder / "..data")
    for name in ("tls.crt", "tls.key"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)


def trusting(authorities: bytes) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authorities.decode())


@dataclass
class Replica:
    """One process; what it says goes to a file, so that it outlives an event loop."""

    process: subprocess.Popen[bytes]
    log: Path
    listen: str = ""
    probes: str = ""

    @property
    def said(self) -> str:
        return self.log.read_text()

    async def serving(self) -> None:
        said_where = r"serving on https://(\S+), probes and metrics on http://(\S+)"
        async with asyncio.timeout(GENEROUS):
            while not (at := re.search(said_where, self.said)):
                assert self.process.poll() is None, self.said
                await asyncio.sleep(0.02)
        self.listen, self.probes = at.groups()

    async def probe(self, path: str = "/readyz") -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.probes}{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def until_ready(self) -> None:
        async with asyncio.timeout(GENEROUS):
            while (await self.probe())[0] != 200:
                await asyncio.sleep(0.02)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        return await asyncio.to_thread(self.process.wait, GENEROUS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(GENEROUS)


def start(
    folder: Path,
    *options: str,
    env: Mapping[str, str] | None = None,
    within: tuple[str, ...] = (),
) -> Replica:
    """Start one on free ports, over the certificate in ``folder``; ``within`` runs the command."""
    handle, log = tempfile.mkstemp(prefix="webhook", suffix=".log", dir=folder.parent)
    process = subprocess.Popen(
        [
            *within, sys.executable, "-W", "error", "-m", "sidecar", "inject", "serve",
            "--tls-dir", str(folder), "--listen", "127.0.0.1:0", "--probes", "127.0.0.1:0",
            "--namespace", "pointsman", "--linger-s", "0.5", *options,
        ],
        stdout=subprocess.DEVNULL,
        stderr=handle,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )  # fmt: skip
    os.close(handle)
    return Replica(process, Path(log))


class ApiServer:
    """Asks as an API server does: over TLS, by the service's name, on kept connections."""

    def __init__(self, authorities: bytes) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusting(authorities))
        )

    async def __aenter__(self) -> ApiServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def post(self, at: str, body: bytes, **headers: str) -> tuple[int, bytes]:
        """The status and body of the answer to any bytes."""
        async with self._session.post(
            f"https://{at}/inject?timeout=3s",
            data=io.BytesIO(body),
            headers={"Content-Type": "application/json", **headers},
            server_hostname=NAME,
        ) as answer:
            return answer.status, await answer.read()

    async def ask(self, at: str, pod: Any, **fields: Any) -> dict[str, Any]:
        """The response to one review, checked as an API server checks it."""
        asked = review(pod, **fields)
        status, body = await self.post(at, orjson.dumps(asked))
        assert status == 200, body
        answer = orjson.loads(body)
        assert (answer["kind"], answer["apiVersion"]) == ("AdmissionReview", asked["apiVersion"])
        response: dict[str, Any] = answer["response"]
        assert response["uid"] == asked["request"]["uid"]
        assert response["allowed"] is True
        assert ("patch" in response) == (response.get("patchType") == "JSONPatch")
        for warning in response.get("warnings", ()):
            assert len(warning.encode()) <= 256
            assert warning.isprintable()
        return response


def admitted(pod: dict[str, Any], response: Mapping[str, Any]) -> dict[str, Any]:
    """The pod as it goes on: patched if the response says so."""
    if "patch" not in response:
        return pod
    return apply(pod, orjson.loads(base64.b64decode(response["patch"])))


def settings_file(folder: Path, **values: Any) -> Path:
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(values))
    return file
