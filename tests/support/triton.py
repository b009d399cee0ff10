"""The real ``tritonserver``, from the nvidia-pytriton wheel, over a repository on disk.

Without a GPU it serves the Python backend. It gets a private copy of the backend's
folder with the stub of this Python linked in, so that site-packages stay as installed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.encoder.bundle import Bundle
from sidecar.encoder.served import Served

ABSENT = "the Triton server is not installed: nvidia-pytriton and the extra `gpu`"


def needed() -> None:
    """Skip where the server or its client is not installed."""
    if installed() is None or importlib.util.find_spec("tritonclient") is None:
        pytest.skip(ABSENT)


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


# How the Python backend of this server aborts now and then as it starts on a busy machine.
LOCKED = "terminate called after throwing an instance of 'boost::interprocess::lock_exception'"
START = Path(__file__).parents[2] / "deploy" / "triton" / "start.sh"


class TritonServer:
    """One server process; models are loaded by name (explicit control).

    With ``script`` it is started by that, which writes ``repository`` itself.
    """

    def __init__(
        self,
        repository: Path,
        scratch: Path,
        models: tuple[str, ...],
        script: Path | None = None,
        **env: str,
    ) -> None:
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
        self.repository, self.script = repository, script
        self.grpc, http, metrics = _free(), _free(), _free()
        self.url = f"127.0.0.1:{self.grpc}"
        self.http = f"http://127.0.0.1:{http}"
        self.metrics = f"http://127.0.0.1:{metrics}/metrics"
        self.log = scratch / "tritonserver.log"
        self._shared = f"test_{os.getpid()}_{self.grpc}_"
        # The backend takes its packages from the first python3 on the path.
        folders = (Path(sys.executable).parent, home / "bin", os.environ["PATH"])
        self._env = {
            **os.environ,
            "PATH": os.pathsep.join(map(str, folders)),
            "PYTHONPATH": str(START.parents[2]),
            "MODELS": str(repository.parent),
            "KIND": repository.name,
            **env,
        }
        binary = [str(home / "bin" / "tritonserver"), f"--model-repository={repository}"]
        self._command = [
            *(["bash", str(script)] if script else binary),
            f"--backend-directory={backend.parent}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in models),
            "--allow-gpu-metrics=false",
            "--exit-timeout-secs=5",
            f"--backend-config=python,shm-region-prefix-name={self._shared}",
            *(f"--{k}-address=127.0.0.1" for k in ("http", "grpc", "metrics")),
            f"--grpc-port={self.grpc}",
            f"--http-port={http}",
            f"--metrics-port={metrics}",
        ]
        self.start()

    def start(self) -> None:
        """Start it, or start it again on the same ports. It leads a process group."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._env, start_new_session=True
            )

    def signal(self, number: int) -> None:
        """To the server and the processes of its backend."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def wait_ready(self, within_s: float = 90.0) -> None:
        """Until the server says that it is ready. Raises AssertionError with its log.

        One that dies of a lock of its own while it starts is started once more.
        """
        end, again = time.monotonic() + within_s, True
        while time.monotonic() < end:
            if self.process.poll() is not None:
                if not again or LOCKED not in self.log.read_text()[-4000:]:
                    break
                again = False
                self.kill_left()
                self.start()
            try:
                with urllib.request.urlopen(f"{self.http}/v2/health/ready", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"tritonserver is not ready:\n{self.log.read_text()[-4000:]}")

    def kill_left(self) -> None:
        """End what a dead server left: its models' processes, and their shared memory."""
        with contextlib.suppress(ProcessLookupError):
            self.kill()
        for left in Path("/dev/shm").glob(f"{self._shared}*"):
            left.unlink()

    def control(self, model: str, do: str) -> None:
        """``do`` is "load" or "unload". Raises OSError where the server refuses."""
        url = f"{self.http}/v2/repository/models/{model}/{do}"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=60):
            pass

    def refusal(self, model: str) -> str:
        """Load a model that must not load; what the server says of it."""
        try:
            self.control(model, "load")
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()
        raise AssertionError(f"{model} was loaded")

    def inferences(self) -> float:
        """How many rows it has read, by its own count."""
        with urllib.request.urlopen(self.metrics, timeout=10) as answer:
            text = answer.read().decode()
        return sum(map(float, re.findall(r"^nv_inference_count\S* (\S+)$", text, re.MULTILINE)))

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        self.kill_left()


@contextlib.contextmanager
def serving(scratch: Path, **env: str) -> Iterator[TritonServer]:
    """A server with every bucket of the packaged encoder, started as its image starts it.

    ``env`` is for the script: see there.
    """
    served = Served.of(Bundle.load())
    models = tuple(map(served.name, served.buckets))
    server = TritonServer(scratch / "repo" / "cpu", scratch, models, START, **env)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()
