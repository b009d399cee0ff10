"""Patterns an operator may write: RE2's, linear in the text whatever they say.

A search takes time linear in the text (https://github.com/google/re2/wiki/WhyRE2),
and a pattern over a size that bounds the constant is refused. So no pattern makes
one request wait for another.
"""

from __future__ import annotations

from typing import Final, Protocol

import re2

# RE2's instructions. On the text that a rule looks at (decide/rules.py) the worst
# pattern found under it took 5 ms of one core and ordinary ones 10 us
# (python -m bench.engine).
LARGEST: Final = 350


class Pattern(Protocol):
    """A compiled pattern."""

    def search(self, text: str, /) -> object | None:
        """A match anywhere in ``text``, or None."""
        ...


def compiled(text: str) -> Pattern:
    """``text`` compiled; ValueError with a sentence where it may not be used."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        found = re2.compile(text, options)
    except re2.error as exc:
        said = exc.args[0] if exc.args else "not a pattern"
        said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise ValueError(
            f"not a pattern of RE2, which has no back-references and no look-around: {said}"
        ) from None
    if found.programsize > LARGEST:
        raise ValueError(
            f"too costly: it compiles to {found.programsize} steps and {LARGEST} are allowed; "
            "shorten it or lower its repeat counts"
        )
    pattern: Pattern = found
    return pattern


def usable(text: str) -> str:
    """``text`` itself, as :func:`compiled` accepts it."""
    compiled(text)
    return text
