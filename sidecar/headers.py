"""Which headers pass, which do not, and which the router adds.

Hop-by-hop headers end here, with those that ``Connection`` names (RFC 9110,
section 7.6.1). The router's own travel neither up nor, from an upstream, down.
A caller's credentials stay here unless its upstream says ``auth: passthrough``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

from multidict import CIMultiDict

from sidecar.account import decision_ms
from sidecar.clock import Clock
from sidecar.config.snapshot import UpstreamSpec
from sidecar.errors import BadRequest
from sidecar.types import Call, Decision, Hints

_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_CREDENTIALS: Final = frozenset({"authorization", "x-api-key", "api-key"})
# Of the caller's connection or body as it came here, not of what is sent on.
_NOT_UP: Final = _HOP_BY_HOP | {"host", "content-length", "content-encoding", "expect", "cookie"}
_UNSAFE: Final = re.compile(r"[^\t\x20-\x7e]")
_NOT_DOWN: Final = _HOP_BY_HOP | {"server-timing"}


def up(
    headers: Iterable[tuple[str, str]], upstream: UpstreamSpec, *, readable: bool = False
) -> list[tuple[str, str]]:
    """The caller's headers as they go to ``upstream``, with that upstream's credentials.

    ``readable`` asks for an answer that is not compressed: one event of it is
    the router's own and must be found.
    """
    keep_credentials = upstream.auth == "passthrough"
    headers = list(headers)
    named = _named_by_connection(headers)
    sent = [
        (name, value)
        for name, value in headers
        if (low := name.lower()) not in _NOT_UP
        and low not in named
        and not low.startswith("x-router-")
        and (keep_credentials or low not in _CREDENTIALS)
    ]
    if readable:
        sent = [(name, value) for name, value in sent if name.lower() != "accept-encoding"]
        sent.append(("Accept-Encoding", "identity"))
    if upstream.key is not None:
        if upstream.auth == "bearer":
            sent.append(("Authorization", f"Bearer {upstream.key.reveal()}"))
        elif upstream.auth == "x-api-key":
            sent.append(("x-api-key", upstream.key.reveal()))
    return sent


def down(headers: Iterable[tuple[str, str]]) -> CIMultiDict[str]:
    """An upstream's headers as they go to the caller."""
    headers = list(headers)
    named = _named_by_connection(headers)
    passed: CIMultiDict[str] = CIMultiDict()
    for name, value in headers:
        low = name.lower()
        if low in _NOT_DOWN or low in named or low.startswith("x-router-"):
            continue
        # bytes outside ASCII arrive as surrogates, which cannot be written again, and
        # a control that one parser lets through may be a line's end to another
        safe = value.isascii() and value.isprintable()
        passed.add(name, value if safe else _UNSAFE.sub("?", value))
    return passed


def _named_by_connection(headers: list[tuple[str, str]]) -> set[str]:
    return {
        token.strip().lower()
        for name, value in headers
        if name.lower() == "connection"
        for token in value.split(",")
    }


def hints(headers: Iterable[tuple[str, str]]) -> Hints:
    """What the caller asked of the router; :class:`BadRequest` for what it cannot heed."""
    said = {low: value for name, value in headers if (low := name.lower()).startswith("x-router-")}
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
    quality = _number(said, "x-router-quality", 0.0, 1.0)
    cost = _number(said, "x-router-max-cost-usd", 0.0, float("inf"))
    return Hints(
        session=_text(said, "x-router-session"),
        tenant=_text(said, "x-router-tenant"),
        quality=quality,
        max_cost_usd=cost,
        explain=said.get("x-router-explain") == "1",
    )


_NO_HINTS: Final = Hints()
_OPTIONS: Final = (
    "x-router-session",
    "x-router-tenant",
    "x-router-quality",
    "x-router-max-cost-usd",
    "x-router-explain",
)


def _text(said: dict[str, str], name: str) -> str | None:
    value = said.get(name)
    if value is not None and len(value) > 256:
        raise BadRequest(f"`{name}` is longer than 256 characters.", param=name)
    if value is not None and not value.isprintable():  # bytes that are no UTF-8 among them
        raise BadRequest(f"`{name}` must be printable text in UTF-8.", param=name)
    return value or None


def _number(said: dict[str, str], name: str, low: float, high: float) -> float | None:
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


def add_router(head: CIMultiDict[str], call: Call, decision: Decision, clock: Clock) -> None:
    """What every answer says of its routing, once each.

    The model and the reason are the decision's; a fallback overwrites them.
    """
    head["x-router-model"] = decision.model
    head["x-router-route"] = decision.route
    head["x-router-reason"] = decision.reason
    head["x-router-decision-ms"] = f"{decision_ms(clock):.3f}"
    head["x-router-request-id"] = call.request_id
    head["Server-Timing"] = clock.server_timing()
    if call.hints.explain:
        said = [f"{step.stage}: {step.verdict}" for step in decision.steps]
        said += [
            f"{c.model} has {c.probability:.3f} for {c.cost_usd:.2g} USD"
            for c in decision.candidates
        ]
        head["x-router-explain"] = " | ".join(said).encode("ascii", "replace").decode()[:2000]
