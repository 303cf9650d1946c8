"""Model servers' errors: a status and a text are all the evidence."""

from __future__ import annotations

import json

import pytest

from ipfs_accelerate_py.dialects.oip.errors import error
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    InvalidRequest,
    ModelNotFound,
    RateLimited,
    ServerError,
)


@pytest.mark.parametrize(
    ("status", "text", "kind", "retryable", "outage"),
    [
        (404, "Model with requested name is not found", ModelNotFound, False, False),
        (404, "Model with requested version is not found", ModelNotFound, False, False),
        (404, "Mediapipe graph definition with requested name is not found", ModelNotFound, False, False),
        (404, "Pipeline definition with requested name is not found", ModelNotFound, False, False),
        (404, "Model with requested version is retired", ModelNotFound, False, False),
        (404, "Model nope not found", ModelNotFound, False, False),
        (400, "Request for unknown model: 'nope' is not found", ModelNotFound, False, False),
        (503, "Model with requested version is not loaded yet", ServerError, True, False),
        (404, "Model with requested version is not loaded yet", ServerError, True, False),
        (400, "Request for unknown model: 'x' has no available versions", ServerError, True, False),
        (503, "Servable model 'x' is not ready", ServerError, True, False),
        (503, "Service unavailable", ServerError, True, True),
        (500, "Internal inference error", ServerError, True, True),
        (400, "Invalid input shape - Expected: (1,10); Actual: (1,9)", InvalidRequest, False, False),
        (400, "Invalid request URL", InvalidRequest, False, False),
        (404, "Not Found", InvalidRequest, False, False),
        (412, "Model could not be reshaped", InvalidRequest, False, False),
        (401, "Unauthorized", AuthenticationError, False, False),
        (429, "Too many requests", RateLimited, True, False),
    ],
)
def test_status_and_words(status: int, text: str, kind: type[BackendError], retryable: bool, outage: bool) -> None:
    found = error(status, {"retry-after": "3", "x-request-id": "r"}, json.dumps({"error": text}).encode())
    assert type(found) is kind
    assert text in found.message
    assert found.args == (found.message,)
    assert (found.status, found.retryable, found.outage) == (status, retryable, outage)
    assert (found.retry_after, found.request_id, found.body) == (3.0, "r", {"error": text})
    assert found.code == kind.code


def test_a_verdict_of_the_servers_holds() -> None:
    body = b'{"error": "Model with requested version is not loaded yet"}'
    assert error(503, {"x-should-retry": "false"}, body).retryable is False


def test_fastapis_words_and_plain_text_are_read() -> None:
    assert "Field required" in error(422, {}, b'{"detail": [{"msg": "Field required"}]}').message
    assert "boom" in error(500, {"content-type": "text/plain"}, b"boom").message
