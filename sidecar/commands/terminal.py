"""Where the commands' tables go.

A terminal has its width, and whatever reads a file or a pipe gets every line whole. Names
that a log, a file of rows or a caller gave are shown as they are: what looks like the
console's own markup in them is text, for else a tenant could name itself a fault of
``sidecar report``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console

_WHOLE: Final = 200  # columns, where nobody's window is narrower


def console() -> Console:
    """Standard output."""
    from rich.console import Console  # noqa: PLC0415  # only where somebody looks

    return Console(highlight=False, width=None if sys.stdout.isatty() else _WHOLE)


def plain(name: object) -> str:
    """``name`` in the midst of markup, as it is."""
    from rich.markup import escape  # noqa: PLC0415

    return escape(str(name))
