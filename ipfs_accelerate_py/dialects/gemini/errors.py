"""Errors of Google's Gemini API, mapped in one place.

Read are ``{"error": {code, message, status, details}}``, the same inside an array (as streams without ``alt=sse`` have
it), and plain text from whoever stands in the way. Source: google.rpc.Status, google.rpc.error_details and
google.rpc.Code of googleapis; "Troubleshooting" and "Rate limits" of ai.google.dev/gemini-api/docs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.headers import duration
from ipfs_accelerate_py.dialects.statuses import decoded, dressed, excerpt, of_status
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

__all__ = ["blocked", "error_from_body", "error_from_status"]

#: HTTP statuses of google.rpc.Code, for errors that come without one.
_STATUSES = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
#: `ErrorInfo.reason` of a key that will not do, which comes with status 400 as well as 403.
_KEY_REASONS = ("API_KEY_", "ACCESS_TOKEN_", "CREDENTIALS_", "CONSUMER_", "SERVICE_DISABLED", "ACCOUNT_STATE_INVALID")
_KEY_WORDS = re.compile(r"API key (not valid|not found|expired|is invalid)|pass a valid API key", re.I)
#: No code tells this one from other invalid arguments, and a fallback to a larger context depends on knowing it.
_CONTEXT_WORDS = re.compile(
    r"token count .{0,60}exceeds|exceeds the maximum number of (input )?tokens|maximum number of tokens allowed"
    r"|exceeds? .{0,40}context (window|length)",
    re.I,
)
_SPENT_WORDS = re.compile(r"credits? (are|is|have been) (depleted|exhausted)|spend(ing)? (cap|limit)", re.I)
_PER_DAY = re.compile(r"per_?(day|month)", re.I)


def error_from_status(status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
    """The error of an answer whose status is not 2xx."""
    raw = _parse(body)
    if raw is None:
        error = _classify(status, excerpt(headers, body), "", {})
        error.status = status
    else:
        error = _error(raw, status)
    return dressed(error, headers)


def error_from_body(raw: Mapping[str, Any]) -> BackendError:
    """The error inside an answer that began with status 200: in a stream, or a 200 with an error in it."""
    return _error(raw, None)


def blocked(feedback: Any, raw: Mapping[str, Any]) -> ContentFiltered | None:
    """The refusal of a prompt (``promptFeedback.blockReason``, and no candidates), if that is what it is."""
    reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
    if not isinstance(reason, str) or not reason:
        return None
    said = feedback.get("blockReasonMessage")
    words = f": {said}" if isinstance(said, str) and said else ""
    return ContentFiltered(f"the prompt was blocked ({reason}){words}", code=reason, type="BLOCKED", body=dict(raw))


def _error(raw: Mapping[str, Any], status: int | None) -> BackendError:
    inner = raw.get("error")
    source: Mapping[str, Any] = inner if isinstance(inner, dict) else raw
    word = source.get("status")
    word = word if isinstance(word, str) else ""
    if status is None:
        given = source.get("code")
        known = isinstance(given, int) and not isinstance(given, bool) and 400 <= given < 600
        status = given if known else _STATUSES.get(word, 500)
    message = source.get("message") or (inner if isinstance(inner, str) else None)
    if not isinstance(message, str):
        message = msgspec.json.encode(raw).decode()[:500]
    details = _details(source)
    error = _classify(int(status or 500), message, word, details)
    error.status = status
    error.type = word or None
    info = details.get("ErrorInfo")
    code = info[0].get("reason") if info else None
    code = code if isinstance(code, str) and code else word
    if code:
        error.code = code
    error.param = _first(details, "BadRequest", "fieldViolations", "field")
    request = details.get("RequestInfo")
    if request and isinstance(request[0].get("requestId"), str):
        error.request_id = request[0]["requestId"]
    retry = details.get("RetryInfo")
    if retry and isinstance(retry[0].get("retryDelay"), str):
        error.retry_after = duration(retry[0]["retryDelay"])
    error.body = dict(raw)
    return error


def _classify(status: int, message: str, word: str, details: Mapping[str, list[dict[str, Any]]]) -> BackendError:
    info = details.get("ErrorInfo")
    reason = str(info[0].get("reason") or "") if info else ""
    if status in (401, 403) or (
        status == 400 and (reason.startswith(_KEY_REASONS) or (not reason and _KEY_WORDS.search(message)))
    ):
        return AuthenticationError(f"Authentication error: {message}")
    if status == 402:
        return QuotaExhausted(f"Quota exhausted: {message}")
    if status == 429 or word == "RESOURCE_EXHAUSTED":
        if _is_spent(message, details):
            return QuotaExhausted(f"Quota exhausted: {message}")
        return RateLimited(f"Rate limit: {message}")
    if 400 <= status < 500 and _CONTEXT_WORDS.search(message):
        return ContextLengthExceeded(message)
    if status == 404:
        return ModelNotFound(message) if "model" in message.lower() else InvalidRequest(message)
    return of_status(408 if status == 499 else status, message)  # it gave up in the middle: worth a repeat


def _is_spent(message: str, details: Mapping[str, list[dict[str, Any]]]) -> bool:
    """Whether a limit is one of the day (or of money): a minute's wait does not help then."""
    violations = list(_violations(details, "QuotaFailure", "violations"))
    for violation in violations:
        if _PER_DAY.search(f"{violation.get('quotaId')} {violation.get('quotaMetric')} {violation.get('subject')}"):
            return True
    return not violations and _SPENT_WORDS.search(message) is not None


def _details(source: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The details by the last part of their type's name."""
    found: dict[str, list[dict[str, Any]]] = {}
    given = source.get("details")
    for detail in given if isinstance(given, list) else ():
        if isinstance(detail, dict) and isinstance(kind := detail.get("@type"), str):
            found.setdefault(kind.rpartition(".")[2], []).append(detail)
    return found


def _violations(details: Mapping[str, list[dict[str, Any]]], kind: str, field: str) -> Iterator[dict[str, Any]]:
    for detail in details.get(kind, ()):
        given = detail.get(field)
        for each in given if isinstance(given, list) else ():
            if isinstance(each, dict):
                yield each


def _first(details: Mapping[str, list[dict[str, Any]]], kind: str, field: str, name: str) -> str | None:
    for each in _violations(details, kind, field):
        if isinstance(value := each.get(name), str) and value:
            return value
    return None


def _parse(body: bytes) -> dict[str, Any] | None:
    value = decoded(body)
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, dict) else None
