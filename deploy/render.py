"""Render the chart into plain manifests, for those without Helm: ``make manifests``.

Nothing in ``deploy/manifests`` but the example is written by hand, and a test
compares it with what this renders.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMESPACE = "pointsman"
_GPU = ("--set", "triton.enabled=true")
_MONITORING = ("--set", "monitoring.enabled=true", "--show-only", "templates/monitoring.yaml")
MANIFESTS = {
    "install.yaml": ("--set", "namespace.create=true"),
    "install-gpu.yaml": ("--set", "namespace.create=true", *_GPU),
    "monitoring.yaml": _MONITORING,
    "monitoring-gpu.yaml": (*_MONITORING, *_GPU),
}
# What says that Helm keeps an object, where it does not.
_HELMS = re.compile(r"^ *(app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n", re.MULTILINE)


def template(helm: Path, *options: str, version: str = "1.35.0") -> str:
    """What ``helm template`` prints; raises with what it complains of."""
    done = subprocess.run(  # noqa: S603  # helm, as the caller names it
        [
            str(helm), "template", "pointsman", str(HERE / "chart"), "--namespace", NAMESPACE,
            "--kube-version", version, *options,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def manifest(helm: Path, name: str) -> str:
    """The text of one of :data:`MANIFESTS`."""
    head = f"# Rendered from deploy/chart by `make manifests`: change that, not this.\n# {name}\n"
    return head + _HELMS.sub("", template(helm, *MANIFESTS[name]))


if __name__ == "__main__":
    for each in MANIFESTS:
        (HERE / "manifests" / each).write_text(manifest(Path(sys.argv[1]), each))
        print(f"deploy/manifests/{each}")
