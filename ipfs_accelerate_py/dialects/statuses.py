"""What all formats share about errors: reading their bodies, and what a status means where nothing else tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from ipfs_accelerate_py.dialects.headers import retry_after, should_retry
from ipfs_accelerate_py.errors import BackendError, InvalidRequest, ProtocolError, ServerError

__all__ = ["decoded", "dressed", "excerpt", "of_status"]

#: The server asks for a repeat with these; it is not down.
_REPEAT = (408, 409, 425)

E = TypeVar("E", bound=BackendError)


def of_status(status: int, message: str, kind: str | None = None) -> BackendError:
    """The error of a status that the format says nothing more of. ``kind`` is its own word for it."""
    if status in _REPEAT:
        error = ServerError(message)
        error.outage = False
        return error
    if 400 <= status < 500:
        return InvalidRequest(message)
    if status >= 500:
        named = f"{status} ({kind})" if kind else str(status)
        return ServerError(f"the upstream failed with HTTP {named}: {message}")
    return ProtocolError(f"the upstream answered with HTTP {status}: {message}")


def dressed(error: E, headers: Mapping[str, str]) -> E:
    """The error with what the answer's headers say of trying again."""
    wait = retry_after(headers)
    if wait is not None:
        error.retry_after = wait
    verdict = should_retry(headers)
    if verdict is not None:
        error.retryable = verdict
    return error


def decoded(body: bytes) -> Any:
    """The body's JSON, or None where it is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def excerpt(headers: Mapping[str, str], body: bytes) -> str:
    """The first words of a body that is no JSON, for people."""
    text = body[:300].decode("utf-8", "replace").strip()
    if not text:
        return "(no body)"
    kind = headers.get("content-type", "")
    return f"(a {kind.split(';')[0] or 'text'} page) {text}" if "html" in kind else text
