"""Replies and errors on disk, for jobs that are done by our own calls."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from ipfs_accelerate_py import errors
from ipfs_accelerate_py.errors import AccelerateError, BackendError, ProtocolError
from ipfs_accelerate_py.types import Cost, Image, Label, Moderation, Ranked, Reply, ToolCall, Usage

__all__ = ["is_final", "load_outcome", "store_error", "store_reply"]

_encode = msgspec.json.Encoder().encode
_PLAIN = (
    "backend", "id", "model", "text", "reasoning", "refusal", "finish_reason", "vectors", "raw", "content_type",
    "request_id", "upstream_request_id", "attempts", "key_name", "latency", "cache", "similarity", "target_model",
)  # fmt: skip
_TYPED: dict[str, Any] = {
    "tool_calls": list[ToolCall],
    "usage": Usage,
    "ranking": list[Ranked],
    "labels": list[list[Label]],
    "images": list[Image],
    "moderations": list[Moderation],
    "thinking_blocks": list[dict[str, Any]],
    "ignored": list[str],
    "cost": Cost | None,
}
_OF_ERRORS = ("status", "code", "type", "param", "request_id", "backend", "attempts", "retryable", "retry_after")


def store_reply(index: int, reply: Reply) -> bytes:
    """A line of JSON, with its end."""
    fields = {name: value for name in (*_PLAIN, *_TYPED) if (value := getattr(reply, name))}
    if reply.body:
        fields["body"] = base64.b64encode(reply.body).decode("ascii")
    return _encode({"index": index, "reply": fields}) + b"\n"


def store_error(index: int, error: AccelerateError) -> bytes:
    """A line of JSON, with its end; one that is not final where another process may have better luck."""
    fields = {"kind": type(error).__name__, "message": error.message}
    fields |= {name: value for name in _OF_ERRORS if (value := getattr(error, name, None)) is not None}
    return _encode({"index": index, "final": is_final(error), "error": fields}) + b"\n"


def is_final(error: AccelerateError) -> bool:
    """Whether the error is of the request itself, so that to ask again cannot help."""
    return not (error.retryable or error.rotate or error.outage or isinstance(error, errors.AdmissionError))


def load_outcome(stored: dict[str, Any]) -> Reply | AccelerateError:
    """What `store_reply` or `store_error` has written, decoded from JSON."""
    fields = stored.get("reply")
    try:
        if isinstance(fields, dict):
            body = base64.b64decode(fields.pop("body", ""))
            typed = {name: msgspec.convert(fields.pop(name), kind) for name, kind in _TYPED.items() if name in fields}
            return Reply(**fields, **typed, body=body)
        return _error(dict(stored["error"]))
    except (TypeError, KeyError, ValueError) as problem:
        raise ProtocolError(f"a stored result of the batch cannot be read: {problem}") from None


def _error(fields: dict[str, Any]) -> AccelerateError:
    kind = getattr(errors, fields.pop("kind"), None)
    if not (isinstance(kind, type) and issubclass(kind, AccelerateError)):
        kind = BackendError
    error = kind(fields.pop("message"))
    for name, value in fields.items():
        if name in _OF_ERRORS:
            setattr(error, name, value)
    return error
