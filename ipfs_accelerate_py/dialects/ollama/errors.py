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

from ipfs_accelerate_py.dialects.statuses import decoded, dressed, excerpt, of_status
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ContextLengthExceeded,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
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
    found = decoded(body)
    detail = found if isinstance(found, dict) else None
    message = excerpt(headers, body) if detail is None else _message(detail)
    error = _classify(status, message)
    error.status = status
    error.request_id = headers.get("x-request-id")
    error.body = detail
    return dressed(error, headers)


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
    return of_status(status, message)


def _message(raw: Mapping[str, Any]) -> str:
    error = raw.get("error")
    if isinstance(error, dict):  # what a proxy in front of it may say, in OpenAI's shape
        error = error.get("message", error)
    return error if isinstance(error, str) else msgspec.json.encode(raw if error is None else error).decode()[:500]
