"""Errors of Ollama, mapped in one place.

An error is ``{"error": "text"}``, as the whole answer or as a line in mid-stream; there is no code and no type. So the
status tells most of it, and words are evidence only where the difference matters: a model that is not there, a prompt
that does not fit, an allowance that is used up. Source: ollama.openapi.yaml (ErrorResponse), docs/api/errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.headers import retry_after, should_retry
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    ServerError,
)

__all__ = ["error_from_status", "error_in_answer"]

_CONTEXT_WORDS = re.compile(
    r"max(imum)? context length|context (length|window|size) (is )?exceed|exceeds? .{0,40}context|prompt.{0,3}too long",
    re.I,
)
_MODEL_WORDS = re.compile(r"\bmodel\b.*\bnot found\b|try pulling it first|manifest: file does not exist", re.I)
_QUOTA_WORDS = re.compile(r"\bquota\b|usage limit|requires a subscription", re.I)
_KEY_WORDS = re.compile(r"^\W*unauthori[sz]ed\b", re.I)


def error_from_status(status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
    """The error of an answer whose status is not 2xx."""
    detail = _parse(body)
    message = _excerpt(headers, body) if detail is None else _message(detail)
    error = _classify(status, message)
    error.status = status
    error.request_id = headers.get("x-request-id")
    error.body = detail
    wait = retry_after(headers)
    if wait is not None:
        error.retry_after = wait
    verdict = should_retry(headers)
    if verdict is not None:
        error.retryable = verdict
    return error


def error_in_answer(raw: Mapping[str, Any]) -> BackendError:
    """The error in an answer that began with status 200: a line of a stream, or a whole body."""
    message = _message(raw)
    status = 500
    if _MODEL_WORDS.search(message):
        status = 404
    elif _KEY_WORDS.search(message):
        status = 401
    elif _CONTEXT_WORDS.search(message):
        status = 400
    error = _classify(status, message)
    error.status = status
    error.body = dict(raw)
    return error


def _classify(status: int, message: str) -> BackendError:
    if status == 402 or (status in (403, 429) and _QUOTA_WORDS.search(message)):
        return QuotaExhausted(f"Quota exhausted: {message}")
    if status in (401, 403):
        return AuthenticationError(f"Authentication error: {message}")
    if status == 429:
        return RateLimited(f"Rate limit: {message}")
    if 400 <= status < 500 and _CONTEXT_WORDS.search(message):
        return ContextLengthExceeded(message)
    if status == 404 and "model" in message.lower():
        return ModelNotFound(message)
    if status == 408:  # the server asks for a repeat; it is not down
        error = ServerError(message)
        error.outage = False
        return error
    if 400 <= status < 500:
        return InvalidRequest(message)
    if status >= 500:
        return ServerError(f"the upstream failed with HTTP {status}: {message}")
    return ProtocolError(f"the upstream answered with HTTP {status}: {message}")


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _message(raw: Mapping[str, Any]) -> str:
    error = raw.get("error")
    if isinstance(error, dict):  # what a proxy in front of it may say, in OpenAI's shape
        error = error.get("message", error)
    return error if isinstance(error, str) else msgspec.json.encode(raw if error is None else error).decode()[:500]


def _excerpt(headers: Mapping[str, str], body: bytes) -> str:
    text = body[:300].decode("utf-8", "replace").strip()
    if not text:
        return "(no body)"
    kind = headers.get("content-type", "")
    return f"(a {kind.split(';')[0] or 'text'} page) {text}" if "html" in kind else text
