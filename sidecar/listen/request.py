"""One request, from its first byte to the end of its answer."""

from __future__ import annotations

from sidecar.headers import RequestHead


class Request:
    """One request, as it comes in."""

    __slots__ = (
        "admitted", "body", "claim", "head", "http10", "keep_alive", "method", "target", "whole",
    )  # fmt: skip

    def __init__(self, method: bytes, target: bytes, head: RequestHead) -> None:
        self.method = method
        self.target = target  # path and query
        self.head = head
        self.http10 = False
        self.keep_alive = True
        self.body = b""
        self.whole = False
        self.admitted = False  # it was asked for its body, which had not come with its head
        self.claim: object = None  # the room that its body takes, for as long as it is here
