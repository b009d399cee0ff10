"""Nothing reports home: loading the encoder leaves no trace of a telemetry client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_loading_the_encoder_starts_no_telemetry(tmp_path: Path) -> None:
    # the runtime's telemetry client keeps its state in the temporary folder
    program = (
        "from sidecar.encoder.bundle import Bundle\n"
        "from sidecar.encoder.model import OnnxEncoder\n"
        "assert OnnxEncoder(Bundle.load()).read(['hello'])\n"
    )
    env = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    subprocess.run(
        [sys.executable, "-c", program],
        env={**env, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        check=True,
        timeout=60,
    )
    assert list(tmp_path.rglob("*")) == []
