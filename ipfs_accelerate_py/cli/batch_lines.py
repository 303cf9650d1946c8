"""A batch's requests and results as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

import msgspec

from ipfs_accelerate_py.errors import AccelerateError, BackendError, ConfigurationError
from ipfs_accelerate_py.types import Reply

__all__ = ["read_requests", "result_line"]

_FIELDS = {
    "text": "text",
    "reasoning": "reasoning",
    "refusal": "refusal",
    "tool_calls": "tool_calls",
    "finish_reason": "finish_reason",
    "vectors": "embeddings",
    "ranking": "ranking",
    "labels": "labels",
    "moderations": "moderations",
    "images": "images",
    "model": "model",
    "cost": "cost",
}


def read_requests(file: IO[bytes], name: str) -> Iterator[dict[str, Any]]:
    """Each line's object; empty lines are passed over. Raises `ConfigurationError` that names the line."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as problem:
            raise ConfigurationError(f"line {number} of {name} is not JSON: {problem}") from None
        if not isinstance(value, dict):
            raise ConfigurationError(f"line {number} of {name} is no JSON object")
        yield value


def result_line(result: Any) -> dict[str, Any]:
    """A `BatchResult` as plain data; what is empty is left out."""
    line: dict[str, Any] = {"index": result.index}
    if result.custom_id:
        line["custom_id"] = result.custom_id
    reply: Reply | None = result.reply
    if reply is None:
        line["error"] = _error(result.error)
        return line
    for name, shown in _FIELDS.items():
        value = getattr(reply, name)
        if value:
            line[shown] = msgspec.to_builtins(value)
    if reply.usage.reported:
        counts = msgspec.to_builtins(reply.usage)
        line["usage"] = {name: count for name, count in counts.items() if count and name != "reported"}
    return line


def _error(error: AccelerateError) -> dict[str, Any]:
    made: dict[str, Any] = {"type": type(error).__name__, "code": error.code, "message": error.message}
    if isinstance(error, BackendError) and error.status is not None:
        made["status"] = error.status
    return made
