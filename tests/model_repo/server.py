"""The real ``tritonserver``, from the nvidia-pytriton wheel, over a repository on disk.

Without a GPU it serves the Python backend. It gets a private copy of the backend's
folder with the stub of this Python linked in, so that site-packages stay as installed.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from pathlib import Path


def installed() -> Path | None:
    """The wheel's server folder, found without importing the wheel."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "tritonserver"


def _free() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class TritonServer:
    """One server process; models are loaded by name (explicit control)."""

    def __init__(self, repository: Path, scratch: Path, models: tuple[str, ...]) -> None:
        home = installed()
        assert home is not None
        backend = scratch / "backends" / "python"
        backend.mkdir(parents=True, exist_ok=True)
        for file in (home / "backends" / "python").iterdir():
            if not (backend / file.name).is_symlink():
                (backend / file.name).symlink_to(file)
        stub = backend / "triton_python_backend_stub"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub.unlink(missing_ok=True)
        stub.symlink_to(home / "python_backend_stubs" / version / stub.name)
        self.grpc, http, metrics = _free(), _free(), _free()
        self.url = f"127.0.0.1:{self.grpc}"
        self.log = scratch / "tritonserver.log"
        # The backend takes its packages from the first python3 on the path.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = [
            str(home / "bin" / "tritonserver"),
            f"--model-repository={repository}",
            f"--backend-directory={backend.parent}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in models),
            "--allow-gpu-metrics=false",
            *(f"--{k}-address=127.0.0.1" for k in ("http", "grpc", "metrics")),
            f"--grpc-port={self.grpc}",
            f"--http-port={http}",
            f"--metrics-port={metrics}",
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "PATH": path}
            )

    def wait_ready(self, client, within_s: float = 90.0) -> None:
        """Until the server says that it is ready. Raises AssertionError with its log."""
        end = time.monotonic() + within_s
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if client.is_server_ready():
                    return
            except Exception:
                pass
            time.sleep(0.1)
        raise AssertionError(f"tritonserver is not ready:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
