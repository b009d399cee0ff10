"""An error as an answer: in the caller's dialect, with an id to find it by."""

from __future__ import annotations

from random import getrandbits
from typing import Final

from sidecar.dialects import DIALECTS
from sidecar.dialects.base import Dialect
from sidecar.errors import (
    BudgetExhausted,
    Forbidden,
    MethodNotAllowed,
    RequestError,
    TooManyRequests,
    UpstreamsFailed,
)

_OWN_SITE: Final = frozenset({"none", "same-origin"})


def new_request_id() -> str:
    """Unique, and of no meaning: 96 random bits. A name and no secret: it opens nothing."""
    # seeded by the system in each process
    return "req_" + getrandbits(96).to_bytes(12, "big").hex()


def error_answer(
    dialect: Dialect | None, exc: RequestError, request_id: str
) -> tuple[dict[str, str], bytes]:
    """The headers and body of an error, in the caller's dialect as far as it is known."""
    head = {"x-router-request-id": request_id, "x-request-id": request_id}
    if isinstance(exc, MethodNotAllowed):
        head["Allow"] = exc.allow
    if isinstance(exc, TooManyRequests):
        head["Retry-After"] = str(exc.retry_after_s)
    if isinstance(exc, UpstreamsFailed | BudgetExhausted):
        head["x-should-retry"] = "false"
    speaker = dialect or DIALECTS["chat"]
    if speaker.family == "anthropic":  # whose clients look for it under this name
        head["request-id"] = request_id
    return head, speaker.error(exc, request_id)


def refuse_a_page(fetch_site: str | None) -> None:
    """:class:`Forbidden` for what a browser says that a page of another site sent.

    ``fetch_site`` is the ``Sec-Fetch-Site`` header. Any page may post to 127.0.0.1: it
    cannot read the answer, but it could spend the operator's money or throw the kill
    switch.
    """
    if fetch_site is not None and fetch_site not in _OWN_SITE:
        raise Forbidden("A web page of another site may not use the sidecar.", code="cross_site")
