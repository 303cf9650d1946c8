"""Errors of services that speak OpenAI's format, mapped in one place.

Read are OpenAI's ``{"error": {message, type, param, code}}``, vLLM's ``{"object": "error", "message": ...}``, FastAPI's
``{"detail": ...}``, ``{"error": "text"}``, and plain text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.statuses import decoded, dressed, excerpt, of_status
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ContentFiltered,
    ContextLengthExceeded,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
)

__all__ = ["error_from_body", "error_from_status"]

_QUOTA = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "quota_exceeded"}
_CONTEXT = {"context_length_exceeded", "string_above_max_length"}
_FILTERED = {"content_policy_violation", "content_filter", "moderation_blocked", "invalid_prompt"}
_MODEL = {"model_not_found", "unknown_model", "model_not_available"}
# Servers other than OpenAI's send no code for this one, and a fallback to a larger context depends on knowing it.
_CONTEXT_WORDS = re.compile(
    r"(maximum|max) context length|context (length|window|size) (is )?exceed|exceeds? .{0,40}context", re.I
)


def error_from_status(status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
    """The error of an answer whose status is not 2xx."""
    found = decoded(body)
    detail = found if isinstance(found, dict) else None
    message, code, kind, param = _fields(detail) if detail is not None else (excerpt(headers, body), None, None, None)
    error = _classify(status, message, code, kind)
    error.status = status
    error.type = kind
    error.param = param
    error.request_id = headers.get("x-request-id")
    error.body = detail
    if code is not None:
        error.code = code
    return dressed(error, headers)


def error_from_body(raw: Mapping[str, Any], status: int | None = None) -> BackendError:
    """The error inside an answer that began with status 200: in band in a stream, or a 200 with an error in it."""
    message, code, kind, param = _fields(raw)
    number = status
    if number is None and code is not None and len(code) == 3 and code.isascii() and code.isdigit():
        number = int(code)
    if number is None:
        words = f"{code or ''} {kind or ''}".lower()
        if "rate_limit" in words or code in _QUOTA or kind in _QUOTA:
            number = 429
        elif "auth" in words or "api_key" in words:
            number = 401
        elif code in _CONTEXT | _FILTERED or "invalid_request" in words:
            number = 400
        else:
            number = 500
    error = _classify(number, message, code, kind)
    error.status = number
    error.type = kind
    error.param = param
    error.body = dict(raw)
    if code is not None:
        error.code = code
    return error


def _classify(status: int, message: str, code: str | None, kind: str | None) -> BackendError:
    if code in _CONTEXT or (400 <= status < 500 and status not in (401, 403, 429) and _CONTEXT_WORDS.search(message)):
        return ContextLengthExceeded(message)
    if status in (401, 403):
        return AuthenticationError(f"Authentication error: {message}")
    if status == 402 or (status == 429 and (code in _QUOTA or kind in _QUOTA)):
        return QuotaExhausted(f"Quota exhausted: {message}")
    if status == 429:
        return RateLimited(f"Rate limit: {message}")
    if code in _FILTERED or kind in _FILTERED:
        return ContentFiltered(message)
    if status == 404 and (code in _MODEL or "model" in message.lower()):
        return ModelNotFound(message)
    return of_status(status, message)


def _fields(raw: Mapping[str, Any]) -> tuple[str, str | None, str | None, str | None]:
    error = raw.get("error")
    source: Mapping[str, Any] = error if isinstance(error, dict) else raw
    message = source.get("message") or (error if isinstance(error, str) else None) or raw.get("detail")
    if not isinstance(message, str):
        message = msgspec.json.encode(message if message is not None else raw).decode()[:500]

    def text(name: str) -> str | None:
        value = source.get(name)
        return None if value is None or value == "" else str(value)

    return message, text("code"), text("type") or text("error_type"), text("param")
