"""Errors and rate limits of services that speak Anthropic's format, mapped in one place.

Source: Anthropic's documentation ("Errors", "Rate limits"). The shape is ``{"type": "error", "error": {type, message,
details?}, "request_id"}``; what has another shape came from something in front of the service, and is read as
``openai.errors`` reads the many shapes of others.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.openai.errors import error_from_status as error_of_others
from ipfs_accelerate_py.dialects.statuses import decoded, dressed, of_status
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
)
from ipfs_accelerate_py.types import RateLimits

__all__ = ["error_from_body", "error_from_status", "rate_limits"]

#: What each type is answered with, for errors that come in band and have no status of their own.
STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
# The service has one type for all that is wrong with a request, and these differ in what helps: a target with a larger
# context, another key, nothing. So for this type alone the words decide.
_CONTEXT_WORDS = re.compile(r"prompt is too long|exceed.{0,20} context|maximum (context|number of tokens)", re.I)
_QUOTA_WORDS = re.compile(r"credit balance is too low|(api )?usage limits?\b.{0,80}regain access", re.I)
_FILTER_WORDS = re.compile(r"blocked by content filtering", re.I)


def error_from_status(status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
    """The error of an answer whose status is not 2xx."""
    raw = _parse(body)
    if raw is None:
        error = error_of_others(status, headers, body)
        error.request_id = headers.get("request-id") or error.request_id
        return error
    error = _made(raw, status)
    error.request_id = headers.get("request-id") or error.request_id or headers.get("x-request-id")
    return dressed(error, headers)


def error_from_body(raw: Mapping[str, Any]) -> BackendError:
    """The error inside an answer that began with status 200: an ``error`` event, or a 200 with an error in it."""
    found = raw.get("error")
    if not isinstance(found, dict):
        raw = {**raw, "error": {"message": found if isinstance(found, str) else _text(raw)}}
        found = raw["error"]
    return _made(raw, STATUS.get(str(found.get("type")), 500))


def _made(raw: Mapping[str, Any], status: int) -> BackendError:
    fields = raw["error"]
    kind = fields.get("type")
    kind = kind if isinstance(kind, str) else None
    message = fields.get("message")
    details = fields.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    code = code if isinstance(code, str) else None
    error = _classify(status, kind, code, message if isinstance(message, str) else _text(raw))
    error.status = status
    error.type = kind
    error.code = code or error.code
    identity = raw.get("request_id")
    error.request_id = identity if isinstance(identity, str) else None
    error.body = dict(raw)
    return error


def _classify(status: int, kind: str | None, code: str | None, message: str) -> BackendError:
    if kind == "billing_error" or status == 402 or (code or "").endswith("spend_limit_reached"):
        return QuotaExhausted(f"Quota exhausted: {message}")
    if kind in ("authentication_error", "permission_error") or status in (401, 403):
        return AuthenticationError(f"Authentication error: {message}")
    if kind == "rate_limit_error" or status == 429:
        if _QUOTA_WORDS.search(message):
            return QuotaExhausted(f"Quota exhausted: {message}")
        return RateLimited(f"Rate limit: {message}")
    if kind == "not_found_error" or status == 404:
        return ModelNotFound(message) if "model" in message.lower() else InvalidRequest(message)
    if kind == "invalid_request_error" or status in (400, 413, 422):
        if _CONTEXT_WORDS.search(message):
            return ContextLengthExceeded(message)
        if _QUOTA_WORDS.search(message):
            return QuotaExhausted(f"Quota exhausted: {message}")
        if _FILTER_WORDS.search(message):
            return ContentFiltered(message)
        return InvalidRequest(message)
    return of_status(status, message, kind)


def _parse(body: bytes) -> dict[str, Any] | None:
    """The error object, where it is Anthropic's."""
    value = decoded(body)
    if not isinstance(value, dict):
        return None
    fields = value.get("error")
    if value.get("type") == "error" and isinstance(fields, dict):
        return value
    # Proxies leave the outer type out; but OpenAI's error has a code, which this one never has.
    if not isinstance(fields, dict) or "code" in fields or "param" in fields:
        return None
    return value if str(fields.get("type")) in STATUS else None


def _text(raw: Any) -> str:
    return msgspec.json.encode(raw).decode()[:500]


# --- rate limits -------------------------------------------------------------------------------------------------


def rate_limits(headers: Mapping[str, str], now: float | None = None) -> RateLimits | None:
    """``anthropic-ratelimit-{requests,tokens,input-tokens}-{limit,remaining,reset}``, or None where there are none.

    ``tokens`` is the narrowest of the limits of tokens; where a service leaves it out, ``input-tokens`` is taken. A
    reset is an instant (RFC 3339), of which seconds from ``now`` (wall-clock time) are made.
    """
    tokens = "tokens" if headers.get("anthropic-ratelimit-tokens-limit") is not None else "input-tokens"
    if (
        headers.get("anthropic-ratelimit-requests-limit") is None
        and headers.get(f"anthropic-ratelimit-{tokens}-limit") is None
    ):
        return None
    at = time.time() if now is None else now

    def number(name: str) -> float | None:
        try:
            value = float(headers.get(f"anthropic-ratelimit-{name}") or "")
        except ValueError:
            return None
        return value if 0 <= value < 1e15 else None

    def reset(name: str) -> float | None:
        value = headers.get(f"anthropic-ratelimit-{name}-reset")
        try:
            return None if value is None else max(0.0, datetime.fromisoformat(value.strip()).timestamp() - at)
        except (ValueError, OverflowError, OSError):
            return None

    return RateLimits(
        requests_limit=number("requests-limit"),
        requests_remaining=number("requests-remaining"),
        requests_reset=reset("requests"),
        tokens_limit=number(f"{tokens}-limit"),
        tokens_remaining=number(f"{tokens}-remaining"),
        tokens_reset=reset(tokens),
    )
