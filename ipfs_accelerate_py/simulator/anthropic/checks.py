"""Requests judged as Anthropic judges them: the same types and words, with the field's place before the colon.

Source: Anthropic's API reference, its guides to tool use and extended thinking, and errors its service is seen to send.
Fields that it does not know are refused, as it does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from ipfs_accelerate_py.simulator.wire import Problem, Refused, Request, Settings

__all__ = [
    "Rule",
    "a_boolean",
    "a_list",
    "a_number",
    "a_string",
    "an_integer",
    "an_object",
    "body_of",
    "field",
    "model_of",
    "modern",
    "one_of",
    "only",
    "refuse",
]

Rule = Callable[[str, Any], None]
_MODERN: Final = re.compile(r"claude-[a-z]+-(?:4-[789]|[5-9])(?!\d)")


def refuse(message: str, status: int = 400, kind: str = "invalid_request_error") -> NoReturn:
    raise Refused(Problem(status, message, kind))


def field(place: str, fields: Mapping[str, Any], name: str, rule: Rule) -> Any:
    """A field that must be there."""
    where = f"{place}.{name}" if place else name
    if name not in fields:
        refuse(f"{where}: Field required")
    rule(where, fields[name])
    return fields[name]


def only(place: str, fields: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Every field that is there is one of these, and is right."""
    for name, value in fields.items():
        where = f"{place}.{name}" if place else name
        rule = rules.get(name)
        if rule is None:
            refuse(f"{where}: Extra inputs are not permitted")
        rule(where, value)


def a_string(where: str, value: Any) -> None:
    if not isinstance(value, str):
        refuse(f"{where}: Input should be a valid string")


def a_boolean(where: str, value: Any) -> None:
    if not isinstance(value, bool):
        refuse(f"{where}: Input should be a valid boolean")


def a_list(where: str, value: Any) -> None:
    if not isinstance(value, list):
        refuse(f"{where}: Input should be a valid list")


def an_object(where: str, value: Any) -> None:
    if not isinstance(value, dict):
        refuse(f"{where}: Input should be an object")


def an_integer(low: int | None = None) -> Rule:
    def rule(where: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            refuse(f"{where}: Input should be a valid integer")
        if low is not None and value < low:
            refuse(f"{where}: Input should be greater than or equal to {low}")

    return rule


def a_number(low: float, high: float) -> Rule:
    def rule(where: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            refuse(f"{where}: Input should be a valid number")
        if not low <= value <= high:
            refuse(f"{where}: range: {low:g}..{high:g}")

    return rule


def one_of(*values: str) -> Rule:
    listed = " or ".join(f"'{value}'" for value in values)

    def rule(where: str, value: Any) -> None:
        if value not in values:
            refuse(f"{where}: Input should be {listed}")

    return rule


def body_of(request: Request) -> dict[str, Any]:
    """The request's JSON object; its version is looked at first, as everything is read by it."""
    version = request.headers.get("anthropic-version")
    if version is None:
        refuse("anthropic-version: header is required")
    if re.fullmatch(r"\d{4}-\d\d-\d\d", version) is None:
        refuse(f'anthropic-version: "{version}" is not a valid version')
    if request.invalid_json:
        refuse("The request body is not valid JSON")
    body = request.body
    if not isinstance(body, dict):
        refuse("Input should be an object")
    return body


def model_of(body: dict[str, Any], settings: Settings) -> str:
    """The model's name, one of those that are served."""
    model: str = field("", body, "model", a_string)
    if not model:
        refuse("model: String should have at least 1 character")
    if settings.models is not None and model not in settings.models:
        refuse(f"model: {model}", 404, "not_found_error")
    return model


def modern(model: str) -> bool:
    """Whether a model of this name thinks as it sees fit, and takes no budget (from 4.7 on)."""
    return _MODERN.search(model) is not None
