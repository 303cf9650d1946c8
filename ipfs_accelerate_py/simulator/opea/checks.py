"""Requests judged as FastAPI and pydantic judge OPEA's: 422, and the field that does not fit named in ``loc``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from ipfs_accelerate_py.simulator.wire import Problem, Refused, Request

__all__ = ["body_of", "check", "failed", "invalid", "required"]

_encode = msgspec.json.Encoder().encode


def invalid(field: str, message: str, kind: str, given: Any = None) -> NoReturn:
    """422. The problem's message is the list of complaints as JSON, which is what this format answers with."""
    complaint = {"type": kind, "loc": ["body", field], "msg": message, "input": given}
    raise Refused(Problem(422, _encode([complaint]).decode(), "validation", None, field))


def failed() -> NoReturn:
    """What every exception inside a service comes to."""
    raise Refused(Problem(500, "Internal Server Error"))


def required(body: dict[str, Any], field: str) -> Any:
    if body.get(field) is None:
        invalid(field, "Field required", "missing", body)
    return body[field]


def body_of(request: Request) -> dict[str, Any]:
    """The request's JSON object. Something else is an exception in a megaservice, which reads it by itself."""
    if request.invalid_json or not isinstance(request.body, dict):
        failed()
    return request.body


def _number(field: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        invalid(field, "Input should be a valid number", "float_parsing", value)


def _not_negative(field: str, value: Any) -> None:
    _number(field, value)
    if value < 0:
        invalid(field, "Input should be greater than or equal to 0", "greater_than_equal", value)


def _positive(field: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        invalid(field, "Input should be a valid integer", "int_parsing", value)
    if value <= 0:
        invalid(field, "Input should be greater than 0", "greater_than", value)


def _text(field: str, value: Any) -> None:
    if not isinstance(value, str):
        invalid(field, "Input should be a valid string", "string_type", value)


def _boolean(field: str, value: Any) -> None:
    if not isinstance(value, bool):
        invalid(field, "Input should be a valid boolean", "bool_type", value)


def _messages(field: str, value: Any) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        invalid(field, "Input should be a valid string", "string_type", value)
    for message in value:
        for content in message.values():
            if isinstance(content, list):
                if all(isinstance(part, dict) for part in content):
                    continue
            elif isinstance(content, str):
                continue
            invalid(field, "Input should be a valid string", "string_type", content)


_RULES: dict[str, Callable[[str, Any], None]] = {
    "chat_template": _text,
    "fetch_k": _positive,
    "frequency_penalty": _number,
    "index_name": _text,
    "k": _positive,
    "max_tokens": _positive,
    "messages": _messages,
    "model": _text,
    "presence_penalty": _number,
    "repetition_penalty": _not_negative,
    "score_threshold": _not_negative,
    "search_type": _text,
    "stream": _boolean,
    "temperature": _not_negative,
    "top_k": _positive,
    "top_n": _positive,
    "top_p": _not_negative,
}


def check(body: dict[str, Any]) -> None:
    """Hold each field that is there, and not null, against its rule. Others are let through, as they are there."""
    for field, value in body.items():
        if value is not None and (rule := _RULES.get(field)) is not None:
            rule(field, value)
