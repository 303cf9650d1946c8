"""Errors of Hugging Face's servers and of its hosted router, mapped in one place.

TGI and TEI say ``{"error": "text", "error_type": "validation"}``, in a stream as an event of a status of 200; TEI's
``/v1`` says ``{"message", "code", "type"}``; the router speaks OpenAI's shape, or ``{"error": "text"}`` with
``estimated_time`` while a model is loading. Sources: tgi.openapi.json, tei.openapi.json, and the servers' own texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from ipfs_accelerate_py.dialects.openai import errors as openai_errors
from ipfs_accelerate_py.errors import (
    BackendError,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
    ServerError,
)

__all__ = ["error_from_body", "error_from_status"]

E = TypeVar("E", bound=BackendError)

#: The status that belongs to an ``error_type``, for errors that came with a status of 200.
_STATUSES = {
    "overloaded": 429,
    "validation": 422,
    "tokenizer": 422,
    "input_error": 422,
    "template_error": 422,
    "tool_error": 422,
    "empty": 400,
    "generation": 424,
    "request_failed": 424,
    "backend": 424,
    "unhealthy": 503,
    "healthcheck": 503,
    "incomplete_generation": 500,
    "incomplete_generation_stream": 500,
}
_NO_MODEL = {"model_not_found", "model_not_supported"}
# Neither server has a code for this one: "`inputs` must have less than 512 tokens. Given: 600" (both), and
# "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: ..." (TGI).
_TOO_LONG = re.compile(r"must have less than \d+ tokens|`inputs` tokens \+ `max_new_tokens` must be", re.I)
# The server is well, but serves another kind of model than was asked for ("model is not a re-ranker model").
_WRONG_KIND = re.compile(r"model is not an? |not supported", re.I)


def error_from_status(status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
    """The error of an answer whose status is not 2xx."""
    return _judged(openai_errors.error_from_status(status, headers, body))


def error_from_body(raw: Mapping[str, Any]) -> BackendError:
    """The error inside an answer that began with status 200."""
    inner = raw.get("error")
    source = inner if isinstance(inner, dict) else raw
    # TGI's chat streams call it http_status_code, TEI's /v1 code.
    status = source.get("http_status_code") or source.get("code")
    if isinstance(status, bool) or not isinstance(status, int) or not 400 <= status < 600:
        kind = source.get("error_type") or source.get("type")
        status = _STATUSES.get(kind.lower()) if isinstance(kind, str) else None
    return _judged(openai_errors.error_from_body(raw, status))


def _judged(error: BackendError) -> BackendError:
    """The error as these servers mean it, where that is not what OpenAI's would."""
    body = error.body if isinstance(error.body, dict) else {}
    kind = (error.type or "").lower()
    message = error.message
    status = error.status or 0
    if isinstance(error, QuotaExhausted | ContextLengthExceeded | ContentFiltered):
        return error
    if status < 500 and _TOO_LONG.search(message):
        return _as(ContextLengthExceeded, error, message)
    if status == 424:
        if _WRONG_KIND.search(message):
            return _as(InvalidRequest, error, message)
        return _as(ServerError, error, f"the upstream failed with HTTP 424: {message}")
    if kind == "overloaded" and not isinstance(error, RateLimited):
        return _as(RateLimited, error, f"Rate limit: {message}")
    if status == 410 or (400 <= status < 500 and (error.code in _NO_MODEL or kind in _NO_MODEL)):
        return _as(ModelNotFound, error, message)
    if status == 503 and (wait := _seconds(body.get("estimated_time"))) is not None:
        # One model is being loaded; neither it nor the others are unwell.
        error.outage = False
        if error.retry_after is None:
            error.retry_after = wait
    return error


def _as(kind: type[E], error: BackendError, message: str) -> E:
    made = kind(
        message,
        status=error.status,
        type=error.type,
        param=error.param,
        request_id=error.request_id,
        body=error.body,
    )
    # What the service said of this one error stays: its code, when to come back, and whether.
    for name in ("code", "retryable", "retry_after"):
        if name in error.__dict__:
            setattr(made, name, error.__dict__[name])
    return made


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        return None
    return float(value)
