"""Which arm of a split a request belongs to. Pure, and stable over restarts and workers.

The arm is a hash of the key, so nobody keeps a table of who is where, and making an
arm larger moves nobody out of it. A request without the key that the split asks for
is a key of its own.
"""

from __future__ import annotations

import hashlib

from sidecar.config.schema.experiments import CONTROL
from sidecar.config.snapshot import RouteSpec
from sidecar.types import Call

_SEEN = 2_000  # characters of a conversation's beginning that tell it from another


def arm_of(route: RouteSpec, call: Call) -> str | None:
    """The arm's name; None where the route is not split."""
    if not route.arms:
        return None
    text = f"{route.salt}\0{route.name}\0{_key(route.split_by, call)}"
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    return next((arm.name for arm in route.arms if place < arm.upto), CONTROL)


def under(route: RouteSpec, arm: str | None) -> RouteSpec:
    """The route as ``arm`` has it."""
    if arm is None:
        return route
    return next((each.route for each in route.arms if each.name == arm), route)


def _key(by: str, call: Call) -> str:
    if by == "tenant" and call.hints.tenant is not None:
        return call.hints.tenant
    if by == "session":
        if call.hints.session is not None:
            return call.hints.session
        prompt = call.prompt
        begun = f"{prompt.system[:_SEEN]}\0{prompt.first[:_SEEN]}"
        if len(begun) > 1:
            return begun
    return call.request_id
