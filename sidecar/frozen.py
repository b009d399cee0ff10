"""Frozen to whoever writes code, and to the interpreter as cheap as any object.

A frozen dataclass sets each of its fields through ``object.__setattr__``: six times the
cost of a plain one, and a request makes two dozen. So where one is made for every request,
what keeps it frozen is the type checker, which reads ``frozen=True`` as always; at run time
it is a slotted dataclass with a hash. Used in place of the standard library's:

    from sidecar.frozen import dataclass
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    T = TypeVar("T")

    def dataclass(*, frozen: bool, slots: bool) -> Callable[[type[T]], type[T]]:
        """``dataclasses.dataclass``, frozen by whoever checks the types."""
        return dataclasses.dataclass(slots=slots, unsafe_hash=frozen)


__all__ = ["dataclass"]
