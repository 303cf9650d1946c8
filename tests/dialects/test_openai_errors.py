"""Errors in every shape that servers of this format send, and the verdict each carries."""

from __future__ import annotations

import email.utils
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.dialects.headers import duration, rate_limits, retry_after, should_retry
from ipfs_accelerate_py.dialects.openai.errors import error_from_body, error_from_status
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    ServerError,
)


def refused(status: int, body: Any, **headers: str) -> BackendError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_from_status(status, {name.replace("_", "-"): value for name, value in headers.items()}, data)


def openai(message: str = "wrong", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": None, "param": None, "code": None, **fields}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, openai(), InvalidRequest),
        (400, openai(code="context_length_exceeded"), ContextLengthExceeded),
        (400, openai("This model's maximum context length is 4096 tokens"), ContextLengthExceeded),
        (400, openai("the request exceeds the available context size, try increasing it"), ContextLengthExceeded),
        (413, openai("prompt exceeds the context window"), ContextLengthExceeded),
        (400, openai(code="content_policy_violation"), ContentFiltered),
        (400, openai(code="content_filter"), ContentFiltered),
        (401, openai(code="invalid_api_key"), AuthenticationError),
        (403, openai(), AuthenticationError),
        (402, openai(), QuotaExhausted),
        (429, openai(code="insufficient_quota"), QuotaExhausted),
        (429, openai(type="insufficient_quota"), QuotaExhausted),
        (429, openai(code="rate_limit_exceeded"), RateLimited),
        (429, openai("your context length exceeds the tokens per minute"), RateLimited),
        (404, openai("The model `x` does not exist", code="model_not_found"), ModelNotFound),
        (404, openai("The model `x` does not exist"), ModelNotFound),
        (404, openai("Not here"), InvalidRequest),
        (405, {"detail": "Method Not Allowed"}, InvalidRequest),
        (408, openai(), ServerError),
        (409, openai(), ServerError),
        (413, openai(), InvalidRequest),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "field required", "type": "missing"}]}, InvalidRequest),
        (500, b"Internal Server Error", ServerError),
        (502, b"<html><body>Bad gateway</body></html>", ServerError),
        (503, openai(), ServerError),
        (529, openai(), ServerError),
        (599, b"", ServerError),
        (304, b"", ProtocolError),
        (201, b"", ProtocolError),
    ],
)
def test_each_becomes_its_own_kind(status: int, body: Any, kind: type[BackendError]) -> None:
    error = refused(status, body)
    assert type(error) is kind
    assert error.status == status


def test_all_that_openai_says_is_kept() -> None:
    error = refused(400, openai("no n", type="invalid_request_error", param="n", code="bad_n"), x_request_id="req_9")
    assert (error.message, error.type, error.param, error.code, error.request_id) == (
        "no n",
        "invalid_request_error",
        "n",
        "bad_n",
        "req_9",
    )
    assert error.body == openai("no n", type="invalid_request_error", param="n", code="bad_n")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": "just text"}, "just text"),
        ({"object": "error", "message": "vLLM says", "type": "BadRequestError", "code": 400}, "vLLM says"),
        ({"detail": "FastAPI says"}, "FastAPI says"),
        ({"detail": [{"msg": "field required"}]}, "field required"),
        ({"error": {"message": {"nested": "why"}}}, "why"),
        ({"error": "tgi says", "error_type": "validation"}, "tgi says"),
        ({"message": "plain"}, "plain"),
        ({"something": "else"}, "else"),
        (["a list"], "a list"),
        (b"plain text \xff", "plain text"),
        (b"", "no body"),
        (b"<html><h1>nginx</h1></html>", "nginx"),
    ],
)
def test_the_reason_reaches_the_caller_in_whatever_shape_it_came(body: Any, words: str) -> None:
    for status in (400, 500):
        assert words in str(refused(status, body))


def test_the_first_words_that_callers_of_the_older_api_look_for() -> None:
    assert str(refused(401, openai("bad key"))).startswith("Authentication error")
    assert str(refused(403, openai("no"))).startswith("Authentication error")
    assert str(refused(429, openai("slow"))).startswith("Rate limit")


def test_codes_are_texts_and_never_the_word_none() -> None:
    assert refused(400, openai(code=400)).code == "400"
    assert refused(400, openai()).code == "invalid_request_error"
    assert refused(500, {"error": {"message": "x", "code": None}}).code == "server_error"


def test_the_servers_own_wish_for_a_repeat_is_no_outage() -> None:
    for status in (408, 409, 425):
        error = refused(status, openai())
        assert (error.retryable, error.outage) == (True, False)


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
@pytest.mark.parametrize(("said", "retryable"), [("true", True), ("false", False), ("True ", True)])
def test_x_should_retry_overrides_both_ways(status: int, said: str, retryable: bool) -> None:
    assert refused(status, openai(), x_should_retry=said).retryable is retryable


def test_waits_are_read_from_every_error() -> None:
    assert refused(503, openai(), retry_after="7").retry_after == 7
    assert refused(429, openai(), retry_after="7", retry_after_ms="250").retry_after == 0.25
    assert refused(429, openai()).retry_after is None


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (openai("x", type="server_error"), ServerError),
        (openai("x", code="rate_limit_exceeded"), RateLimited),
        (openai("x", type="rate_limit_error"), RateLimited),
        (openai("x", code="context_length_exceeded"), ContextLengthExceeded),
        (openai("x", code="invalid_api_key"), AuthenticationError),
        (openai("x", code=503), ServerError),
        (openai("x", code="429"), RateLimited),
        (openai("x", type="invalid_request_error"), InvalidRequest),
        ({"error": "a text"}, ServerError),
        ({"error": {}}, ServerError),
        (openai("x", code="insufficient_quota"), QuotaExhausted),
        (openai("x", code="content_filter"), ContentFiltered),
        (openai("x", code="²"), ServerError),
        (openai("x", code="0"), BackendError),
        (openai("x", code="1" * 5000), BackendError),
    ],
)
def test_errors_that_came_with_status_200(raw: dict[str, Any], kind: type[BackendError]) -> None:
    assert isinstance(error_from_body(raw), kind)


# --- headers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": " 3 "}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "150"}, 0.15),
        ({"retry-after-ms": "150", "retry-after": "9"}, 0.15),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "1e400"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date() -> None:
    now = 1_800_000_000.0
    date = email.utils.formatdate(now + 30, usegmt=True)
    assert retry_after({"retry-after": date}, now) == pytest.approx(30)
    assert retry_after({"retry-after": email.utils.formatdate(now - 30, usegmt=True)}, now) == 0.0
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000"}, now) == 0.0
    assert retry_after({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, now) is None


@given(st.text(max_size=40))
def test_no_header_is_odd_enough_to_fail(text: str) -> None:
    headers = dict.fromkeys(
        ("retry-after", "retry-after-ms", "x-should-retry", "x-ratelimit-limit-requests", "x-ratelimit-reset-requests"),
        text,
    )
    wait = retry_after(headers)
    assert wait is None or 0 <= wait < 1e12
    should_retry(headers)
    rate_limits(headers)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("1s", 1.0),
        ("120ms", 0.12),
        ("1h2m3.5s", 3723.5),
        ("1d2h", 93600.0),
        ("7.66s", 7.66),
        ("12", 12.0),
        ("", None),
        ("soon", None),
        ("1x", None),
        ("s", None),
        ("1s2", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert duration(text) == (None if seconds is None else pytest.approx(seconds))


def test_rate_limits() -> None:
    limits = rate_limits(
        {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-limit-tokens": "150000",
            "x-ratelimit-remaining-tokens": "149984",
            "x-ratelimit-reset-tokens": "6m0s",
        }
    )
    assert limits is not None
    assert (limits.requests_limit, limits.requests_remaining, limits.requests_reset) == (60, 59, 1.0)
    assert (limits.tokens_limit, limits.tokens_remaining, limits.tokens_reset) == (150000, 149984, 360.0)
    assert rate_limits({"date": "x"}) is None
    assert rate_limits({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"}) is None
