"""OPEA's errors, mapped in one place.

Its services are FastAPI applications: ``{"detail": "text"}``, ``{"detail": [{loc, msg, type}]}`` for a request that
does not fit (422), and the plain text ``Internal Server Error`` where the model behind a megaservice fails. The
microservices that pass a model server's errors on do so in OpenAI's shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.openai import errors as openai_errors
from ipfs_accelerate_py.dialects.statuses import decoded
from ipfs_accelerate_py.errors import BackendError, ServerError

__all__ = ["error_from_status", "is_error", "model_failed"]


def error_from_status(status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
    """The error of an answer whose status is not 2xx."""
    raw = decoded(body)
    blamed = _blamed(raw)
    if blamed is None:
        return openai_errors.error_from_status(status, headers, body)
    field, words = blamed
    error = openai_errors.error_from_status(status, headers, msgspec.json.encode({"detail": words}))
    error.param = field
    error.body = raw
    return error


def model_failed(message: str) -> ServerError:
    """The megaservice is there, and what it asked is not: worth another try, and a reason to turn to another target."""
    return ServerError(message, status=200, code="model_failed")


def is_error(raw: Mapping[str, Any]) -> bool:
    """Whether an object that came where a piece of the answer is expected is a model server's error."""
    if raw.get("object") == "error" or isinstance(raw.get("error"), Mapping):
        return True
    return "choices" not in raw and isinstance(raw.get("error"), str)


def _blamed(raw: Any) -> tuple[str, str] | None:
    """The field and the words of FastAPI's complaint about a request."""
    detail = raw.get("detail") if isinstance(raw, dict) else None
    if not isinstance(detail, list) or not detail or not all(isinstance(each, dict) for each in detail):
        return None
    fields = [".".join(str(step) for step in each.get("loc") or () if step != "body") for each in detail]
    words = "; ".join(f"{field}: {each.get('msg')}" for field, each in zip(fields, detail, strict=True))
    return fields[0], words
