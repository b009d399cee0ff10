"""A pod's life with real processes, in the order that a kubelet keeps (KEP-753).

The sidecar is the container that the webhook's patch put into the pod: its
arguments, its probes and the app's environment are taken from the patched pod. It
is started first; when its startup probe is answered the app is started; at the
end the app gets SIGTERM, and the sidecar only when the app has exited.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sidecar.inject.container import CONFIG_FILE, NAME
from sidecar.inject.patch import apply, inject
from sidecar.inject.settings import PORTS, Settings
from tests.support.pods import plain
from tests.support.wire import exchange, post

GENEROUS = 90.0
APP = Path(__file__).with_name("app_in_pod.py")


# Each is given once: two pods that start together must not find the same ones free.
_FIRST_PORTS = iter(range(10_000 + os.getpid() % 4000 * PORTS, 32_000, PORTS))


def free_ports() -> int:
    """The first of :data:`PORTS` free ports in a row, below those that the system hands out."""
    for first in _FIRST_PORTS:
        try:
            for port in range(first, first + PORTS):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


@dataclass
class Ended:
    """How the pod went: exit statuses, and what the app said."""

    app: int
    sidecar: int
    said: dict[str, Any]
    log: str


@dataclass
class Pod:
    """One pod, over ``folder`` for its ConfigMap."""

    folder: Path
    config: Mapping[str, Any]
    app_arguments: tuple[str, ...] = ("4",)
    within: tuple[str, ...] = ()  # a command that runs the sidecar's
    spec: dict[str, Any] = field(default_factory=dict)
    sidecar: asyncio.subprocess.Process | None = None
    app: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the sidecar, wait for its startup probe, start the app."""
        self.folder.mkdir(parents=True)
        text = yaml.safe_dump(dict(self.config), sort_keys=False)
        (self.folder / CONFIG_FILE).write_text(text)
        pod = plain()
        pod["metadata"]["annotations"] = {"pointsman.dev/port": str(free_ports())}
        injection = inject(pod, "team", Settings())
        assert injection.reason == "injected"
        self.spec = apply(pod, injection.operations)["spec"]
        (container,) = (each for each in self.spec["initContainers"] if each["name"] == NAME)
        (mount,) = container["volumeMounts"]
        arguments = [
            arg.replace("$(POD_IP)", "127.0.0.1").replace(mount["mountPath"], str(self.folder))
            for arg in container["args"]
        ]
        with (self.folder / "log").open("wb") as log:
            self.sidecar = await asyncio.create_subprocess_exec(
                *self.within, sys.executable, "-m", "sidecar", *arguments, stdout=log, stderr=log
            )
        await self._started(container)
        env = {each["name"]: each["value"] for each in self.spec["containers"][0]["env"]}
        self.app = await asyncio.create_subprocess_exec(
            sys.executable, str(APP), *self.app_arguments,
            stdout=asyncio.subprocess.PIPE, env={**os.environ, **env},
        )  # fmt: skip

    async def _started(self, container: Mapping[str, Any]) -> None:
        """Probe as the startup probe says; the busy machine gets more time than a pod."""
        probe = container["startupProbe"]["httpGet"]
        (port,) = (
            each["containerPort"] for each in container["ports"] if each["name"] == probe["port"]
        )
        request = post(b"", path=probe["path"], method="GET")
        async with asyncio.timeout(GENEROUS):
            while True:
                assert self.sidecar is not None
                assert self.sidecar.returncode is None, self.log()
                try:
                    if (await exchange(f"127.0.0.1:{port}", request)).status == 200:
                        return
                except OSError:
                    pass
                await asyncio.sleep(0.05)

    async def streaming(self) -> None:
        """Wait until every stream of the app has had content."""
        assert self.app is not None
        assert self.app.stdout is not None
        async with asyncio.timeout(GENEROUS):
            assert await self.app.stdout.readline() == b"streaming\n", self.log()

    async def shut_down(self) -> Ended:
        """Delete the pod: SIGTERM to the app, and to the sidecar when the app has gone."""
        assert self.app is not None
        self.app.send_signal(signal.SIGTERM)
        return await self.completed()

    async def completed(self) -> Ended:
        """Wait for the app to exit, then stop the sidecar, as for a Job."""
        assert self.app is not None
        assert self.sidecar is not None
        async with asyncio.timeout(GENEROUS):
            said, _ = await self.app.communicate()
            assert self.sidecar.returncode is None, self.log()  # it is there to the app's end
            self.sidecar.send_signal(signal.SIGTERM)
            status = await self.sidecar.wait()
        assert self.app.returncode is not None
        last = said.splitlines()[-1] if said else b"{}"
        return Ended(self.app.returncode, status, yaml.safe_load(last), self.log())

    def log(self) -> str:
        return (self.folder / "log").read_text()

    async def kill(self) -> None:
        for process in (self.app, self.sidecar):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
