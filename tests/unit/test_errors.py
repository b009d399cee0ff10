"""One tree of errors: each that reaches a caller has a status and OpenAI's shape."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from sidecar import errors
from sidecar.dialects import DIALECTS
from sidecar.listen.http_server import error_answer

MADE = {
    errors.MethodNotAllowed: lambda: errors.MethodNotAllowed("Say POST.", allow="POST"),
    errors.UpstreamsFailed: lambda: errors.UpstreamsFailed("Gone.", status=504, code="x"),
}
STATUS = {
    errors.BadRequest: 400,
    errors.NoCapableModel: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.HeaderTimeout: 408,
    errors.BodyTimeout: 408,
    errors.BodyTooLarge: 413,
    errors.ExpectationFailed: 417,
    errors.HeadersTooLarge: 431,
    errors.TooManyRequests: 429,
    errors.BudgetExhausted: 429,
    errors.UpstreamsFailed: 504,
    errors.Internal: 500,
    errors.RequestError: 500,
}


def below(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from below(child)


def test_everything_raised_on_purpose_is_of_one_tree() -> None:
    kinds = {v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)}
    assert kinds == set(below(errors.SidecarError))


@pytest.mark.parametrize("kind", sorted(below(errors.RequestError), key=lambda k: k.__name__))
def test_every_request_error_becomes_an_answer_in_openais_shape(
    kind: type[errors.RequestError],
) -> None:
    fault = MADE.get(kind, lambda: kind("A sentence."))()
    head, body = error_answer(None, fault, "req_1")
    assert fault.status == STATUS[kind]
    assert head["x-request-id"] == head["x-router-request-id"] == "req_1"
    said = orjson.loads(body)["error"]
    assert set(said) == {"message", "type", "param", "code", "request_id"}
    assert said["message"] == str(fault)
    assert said["type"] == kind.kind
    assert said["request_id"] == "req_1"


def test_a_wrong_method_names_the_right_one() -> None:
    head, _ = error_answer(None, errors.MethodNotAllowed("x", allow="GET"), "r")
    assert head["Allow"] == "GET"


def test_a_failure_of_every_upstream_asks_the_client_not_to_retry_what_was_retried() -> None:
    fault = errors.UpstreamsFailed("x", status=502, code="upstream_broken")
    assert error_answer(None, fault, "r")[0]["x-should-retry"] == "false"


def test_the_reasons_of_a_silent_classifier_are_the_contracts_words() -> None:
    assert errors.ClassifierLate.reason == "deadline"
    assert errors.ClassifierDown.reason == "classifier-down"


@pytest.mark.parametrize("name", DIALECTS)
def test_an_errors_text_may_hold_anything(name: str) -> None:
    fault = errors.NotFound("No model is called '\\ud800\"\n\x00'.", param="model")
    assert orjson.loads(DIALECTS[name].error(fault, "r"))["error"]["message"] == str(fault)


def test_a_config_error_has_a_line_a_fault() -> None:
    assert str(errors.ConfigError(["a:1: x: y", "a:2: z: w"])) == "a:1: x: y\na:2: z: w"
