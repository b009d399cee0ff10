"""Run a command as the injected container runs: nothing can be written, and no privilege.

``python read_only.py COMMAND ...``. In namespaces of its own, where every mount is
read-only, as user 65532 without capabilities. Where the system allows no namespaces, with
files that cannot grow by a byte, which is less: what the command says then goes by a pipe.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import sys
from pathlib import Path

_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _RDONLY = 442, -100, 0x8000, 1
_PR_SET_NO_NEW_PRIVS = 38
_LIBC = ctypes.CDLL(None, use_errno=True)
READ_ONLY = (sys.executable, __file__)  # to be followed by a command


class _Attributes(ctypes.Structure):  # struct mount_attr, of linux/mount.h
    _fields_ = [
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    ]


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def read_only_mounts() -> None:
    """Make every mount read-only, for this process and what it runs. OSError where forbidden."""
    user, group = os.geteuid(), os.getegid()
    _checked(_LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNS))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"65532 {user} 1")
    Path("/proc/self/gid_map").write_text(f"65532 {group} 1")
    wanted = _Attributes(set=_RDONLY)
    _checked(
        _LIBC.syscall(
            _MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE,
            ctypes.byref(wanted), ctypes.sizeof(wanted),
        )
    )  # fmt: skip


def no_growing_files() -> None:
    """Let no file grow; a process of its own passes on what is said, which may be to a file."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(write)
        while said := os.read(read, 65536):
            os.write(2, said)
        os._exit(0)
    os.close(read)
    os.dup2(write, 1)
    os.dup2(write, 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


if __name__ == "__main__":
    try:
        read_only_mounts()
    except OSError as exc:
        if exc.errno not in {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOSPC, errno.EINVAL}:
            raise
        no_growing_files()
    _checked(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])  # which leaves a user that is not 0 no capability
