"""One tree of errors.

Everything that the product raises on purpose is a :class:`SidecarError`. The
branch under :class:`RequestError` has an HTTP status and becomes an answer in
the caller's dialect; :class:`UpstreamError` is what a failing model's server
does to an attempt; :class:`ClassifierError` is why a request went to its
route's default; the others end a command with a sentence.
"""

from __future__ import annotations

import traceback
from http import HTTPStatus
from pathlib import Path


class SidecarError(Exception):
    """The root: its message is a sentence that says what to do."""


# -- commands ---------------------------------------------------------------------


class ConfigError(SidecarError):
    """A configuration that cannot be used; ``faults`` are one line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class StateError(SidecarError):
    """A place for the sidecar's own state that cannot be used as configured."""


class EncoderError(SidecarError):
    """Encoder files that are missing, corrupt or do not belong together."""


class DataError(SidecarError):
    """Rows or files given to an offline command that it cannot use."""


# -- the classifier ---------------------------------------------------------------


class ClassifierError(SidecarError):
    """No reading: the request goes to its route's default."""

    reason = "classifier-down"


class ClassifierDown(ClassifierError):
    """The classifier raised, was stopped, or never started."""


class ClassifierLate(ClassifierError):
    """No reading within the deadline, or no room in the queue to meet it."""

    reason = "deadline"


# -- an attempt at an upstream ----------------------------------------------------


class UpstreamError(SidecarError):
    """An upstream that gave no usable answer; before content, the next one is tried."""

    status = 502
    code = "upstream_failed"


class UpstreamUnreachable(UpstreamError):
    """No connection: refused, unresolved, or its TLS not to be trusted."""

    code = "upstream_unreachable"


class UpstreamBroken(UpstreamError):
    """The answer was malformed, or ended before it was whole."""

    code = "upstream_broken"


class UpstreamTimeout(UpstreamError):
    """Nothing came in time: no connection, no first content, or silence between."""

    status = 504
    code = "upstream_timeout"


# -- an answer to the caller ------------------------------------------------------


class RequestError(SidecarError):
    """A request that the sidecar itself answers, with an error in the caller's dialect."""

    status = 500
    kind = "server_error"  # OpenAI's `type`
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        if code is not None:
            self.code = code

    @property
    def reason(self) -> str:
        """What a status line says beside the status."""
        return HTTPStatus(self.status).phrase


class Internal(RequestError):
    """A fault of the sidecar's own."""

    code = "internal_error"


class BadRequest(RequestError):
    """The body or a header says something that cannot be acted on."""

    status = 400
    kind = "invalid_request_error"


class NoCapableModel(BadRequest):
    """Every candidate lacks something that the request needs."""

    code = "no_capable_model"


class Unauthorized(RequestError):
    """The caller did not send the token that ``listen`` asks for."""

    status = 401
    kind = "authentication_error"


class Forbidden(RequestError):
    """The caller is one who may not ask, whatever it asks."""

    status = 403
    kind = "permission_error"


class NotFound(RequestError):
    """No such path or model."""

    status = 404
    kind = "invalid_request_error"


class MethodNotAllowed(RequestError):
    """A known path, asked in another way than it answers."""

    status = 405
    kind = "invalid_request_error"

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class HeaderTimeout(RequestError):
    """The caller began a request and did not finish its headers."""

    status = 408
    kind = "invalid_request_error"
    code = "request_timeout"


class ExpectationFailed(RequestError):
    """An ``Expect`` other than ``100-continue``."""

    status = 417
    kind = "invalid_request_error"
    code = "expectation_failed"


class BodyTimeout(RequestError):
    """The caller began a body and did not finish it."""

    status = 408
    kind = "invalid_request_error"
    code = "request_timeout"


class BodyTooLarge(RequestError):
    """A body over ``limits.max_body_mb``."""

    status = 413
    kind = "invalid_request_error"
    code = "body_too_large"


class HeadersTooLarge(RequestError):
    """A request line or header over the parser's limit."""

    status = 431
    kind = "invalid_request_error"
    code = "headers_too_large"


class TooManyRequests(RequestError):
    """More requests at once than the sidecar is allowed to hold."""

    status = 429
    kind = "rate_limit_error"
    retry_after_s = 1


class BudgetExhausted(TooManyRequests):
    """A budget that refuses is used up. Trying again before it renews is of no use."""

    code = "budget_exhausted"

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UpstreamsFailed(RequestError):
    """Every candidate failed and none of them gave an answer to pass on.

    ``routing`` are the header lines that say how the request went, as on any answer to a route.
    """

    status = 502
    kind = "upstream_error"
    routing = b""

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message, code=code)
        self.status = status


# -- the log ----------------------------------------------------------------------


def trace(exc: BaseException | None) -> str:
    """The type of ``exc`` and where it was raised: its words may quote a request."""
    if exc is None:
        return "unknown"
    frames = traceback.extract_tb(exc.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames)]
    return " < ".join([type(exc).__name__, *places])
