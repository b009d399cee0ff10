"""Run a command that cannot outlive the process that started it.

``python -m sidecar.demo.leash PARENT COMMAND...`` asks the kernel for a SIGTERM
at the parent's death, then becomes COMMAND, under the same process id. A parent
that is killed outright cannot clean up after itself; this way it need not. Only
Linux has the call: elsewhere the command just runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main(argv: list[str]) -> None:
    parent, command = int(argv[0]), argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:  # it died before we had asked
            raise SystemExit(1)
    os.execv(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
