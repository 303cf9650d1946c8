"""Errors of services that speak Anthropic's format, and what their headers say of limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.dialects.anthropic.errors import error_from_body, error_from_status, rate_limits
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from ipfs_accelerate_py.types import RateLimits

from .test_openai_fuzz import json_values


def refused(status: int, kind: str, message: str = "No", headers: dict[str, str] | None = None, **more: Any) -> Any:
    body = {"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_body"}
    return error_from_status(status, headers or {}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("status", "kind", "message", "made"),
    [
        (400, "invalid_request_error", "max_tokens: Field required", InvalidRequest),
        (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", ContextLengthExceeded),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000",
            ContextLengthExceeded,
        ),
        (400, "invalid_request_error", "Output blocked by content filtering policy", ContentFiltered),
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
            QuotaExhausted,
        ),
        (
            400,
            "invalid_request_error",
            "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
            QuotaExhausted,
        ),
        (401, "authentication_error", "invalid x-api-key", AuthenticationError),
        (402, "billing_error", "Pay", QuotaExhausted),
        (403, "permission_error", "Not you", AuthenticationError),
        (404, "not_found_error", "model: claude-x", ModelNotFound),
        (404, "not_found_error", "Not Found", InvalidRequest),
        (409, "conflict_error", "Again", ServerError),
        (413, "request_too_large", "Request exceeds the maximum size", InvalidRequest),
        (422, "invalid_request_error", "No", InvalidRequest),
        (429, "rate_limit_error", "Slow down", RateLimited),
        (500, "api_error", "Internal server error", ServerError),
        (503, "api_error", "Unavailable", ServerError),
        (504, "timeout_error", "Late", ServerError),
        (529, "overloaded_error", "Overloaded", ServerError),
        (418, "new_error", "Tea", InvalidRequest),
    ],
)
def test_every_type_is_one_of_the_tree(status: int, kind: str, message: str, made: type[BackendError]) -> None:
    error = refused(status, kind, message)
    assert type(error) is made
    assert (error.status, error.type, error.request_id) == (status, kind, "req_body")
    assert message in error.message
    assert error.body["error"]["message"] == message


def test_first_words_and_verdicts() -> None:
    assert refused(401, "authentication_error").message.startswith("Authentication error")
    assert refused(429, "rate_limit_error").message.startswith("Rate limit")
    overloaded, conflict = refused(529, "overloaded_error"), refused(409, "conflict_error")
    assert (overloaded.retryable, overloaded.outage) == (True, True)
    assert (conflict.retryable, conflict.outage) == (True, False)
    assert not refused(400, "invalid_request_error").retryable


def test_a_spend_limit_is_a_quota_whatever_its_status() -> None:
    error = refused(429, "rate_limit_error", details={"error_code": "enforced_spend_limit_reached"})
    assert isinstance(error, QuotaExhausted)
    assert error.code == "enforced_spend_limit_reached"


def test_headers_say_when_and_whether() -> None:
    headers = {"request-id": "req_h", "retry-after": "7", "x-should-retry": "false"}
    error = refused(529, "overloaded_error", headers=headers)
    assert (error.request_id, error.retry_after, error.retryable) == ("req_h", 7.0, False)


@pytest.mark.parametrize(
    ("body", "status", "made"),
    [
        (b"<html>413 Request Entity Too Large</html>", 413, InvalidRequest),
        (b"", 503, ServerError),
        (b'{"error": {"message": "No key", "type": "invalid_request_error", "code": "x"}}', 401, AuthenticationError),
        (b'{"detail": "Not Found"}', 404, InvalidRequest),
        (b'{"error": {"type": "rate_limit_error", "message": "Slow"}}', 429, RateLimited),
    ],
)
def test_what_stands_in_front_answers_in_its_own_way(body: bytes, status: int, made: type[BackendError]) -> None:
    error = error_from_status(status, {"request-id": "req_h"}, body)
    assert type(error) is made
    assert (error.status, error.request_id) == (status, "req_h")


def test_in_band_the_type_stands_for_the_status() -> None:
    error = error_from_body({"type": "error", "error": {"type": "authentication_error", "message": "No"}})
    assert isinstance(error, AuthenticationError)
    assert error.status == 401
    assert error_from_body({"error": "text"}).message.endswith("text")


@given(json_values, st.integers(100, 999))
def test_any_body_makes_an_error(value: Any, status: int) -> None:
    for body in (value, {"type": "error", "error": value}, {"error": {"type": value, "message": value}}):
        assert isinstance(error_from_status(status, {}, json.dumps(body).encode()), BackendError)


@given(st.dictionaries(st.sampled_from(["error", "message", "type", "request_id"]), json_values))
def test_any_object_makes_an_error(raw: dict[str, Any]) -> None:
    assert isinstance(error_from_body(raw), BackendError)


# --- limits ------------------------------------------------------------------------------------------------------


def test_limits() -> None:
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:30Z",
        "anthropic-ratelimit-tokens-limit": "40000",
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": "2025-12-31T23:59:00.500Z",
        "anthropic-ratelimit-input-tokens-limit": "1",
    }
    assert rate_limits(headers, now=1767225600.0) == RateLimits(50, 49, 30.0, 40000, 0, 0.0)


def test_limits_of_input_alone_and_odd_ones() -> None:
    headers = {
        "anthropic-ratelimit-input-tokens-limit": "10",
        "anthropic-ratelimit-input-tokens-remaining": "x",
        "anthropic-ratelimit-input-tokens-reset": "soon",
    }
    assert rate_limits(headers) == RateLimits(tokens_limit=10)
    assert rate_limits({}) is None
