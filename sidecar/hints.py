"""What a caller may ask of the router itself, in ``x-router-*`` headers."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from sidecar.errors import BadRequest
from sidecar.types import Hints

_NO_HINTS: Final = Hints()
_OPTIONS: Final = (
    "x-router-session",
    "x-router-tenant",
    "x-router-quality",
    "x-router-max-cost-usd",
    "x-router-explain",
)


def hints(said: Mapping[str, str]) -> Hints:
    """What the caller asked, from its ``x-router-*`` headers in small letters; the values of
    one that was sent more than once are lines of text.

    Raises :class:`BadRequest` for what cannot be heeded.
    """
    if not said:
        return _NO_HINTS
    for name in said.keys() - _OPTIONS:  # a typo must not pass for a wish that was heard
        near = difflib.get_close_matches(name, _OPTIONS, n=1)
        hint = f"Did you mean `{near[0]}`?" if near else f"Use one of: {', '.join(_OPTIONS)}."
        raise BadRequest(
            f"`{name[:80]}` is not an option of the router. {hint}",
            param=name[:80],
            code="unknown_option",
        )
    for name, value in said.items():
        if "\n" in value:
            raise BadRequest(f"`{name}` is given more than once. Send it once.", param=name)
    quality = _number(said, "x-router-quality", 0.0, 1.0)
    cost = _number(said, "x-router-max-cost-usd", 0.0, float("inf"))
    explain = said.get("x-router-explain", "")
    if explain not in {"1", "0", ""}:
        raise BadRequest("`x-router-explain` must be 1.", param="x-router-explain")
    return Hints(
        session=_text(said, "x-router-session"),
        tenant=_text(said, "x-router-tenant"),
        quality=quality,
        max_cost_usd=cost,
        explain=explain == "1",
    )


def _text(said: Mapping[str, str], name: str) -> str | None:
    value = said.get(name)
    if value is not None and len(value) > 256:
        raise BadRequest(f"`{name}` is longer than 256 characters.", param=name)
    if value is not None and not value.isprintable():  # bytes that are no UTF-8 among them
        raise BadRequest(f"`{name}` must be printable text in UTF-8.", param=name)
    return value or None


def _number(said: Mapping[str, str], name: str, low: float, high: float) -> float | None:
    value = said.get(name)
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not low <= number <= high:
        span = f"from {low:g} to {high:g}" if high < float("inf") else f"from {low:g} up"
        raise BadRequest(f"`{name}` must be a number {span}.", param=name)
    return number
