"""Requests judged as OpenAI judges them: the same statuses, codes and words, with the field named in ``param``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from ipfs_accelerate_py.simulator.wire import Problem, Refused, Request, Settings

__all__ = [
    "Rules",
    "a_boolean",
    "a_number",
    "a_string",
    "an_array",
    "an_integer",
    "an_object",
    "body_of",
    "check",
    "missing",
    "model_of",
    "one_of",
    "refuse",
    "wrong_type",
]

Rule = Callable[[str, Any], None]
Rules = Mapping[str, Rule]


def refuse(message: str, param: str | None = None, code: str | None = None, status: int = 400) -> NoReturn:
    raise Refused(Problem(status, message, "invalid_request_error", code, param))


def missing(param: str) -> NoReturn:
    refuse(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


_KINDS: Final = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    list: "an array",
    dict: "an object",
}


def _kind(value: Any) -> str:
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)


def wrong_type(param: str, wanted: str, value: Any) -> NoReturn:
    refuse(f"Invalid type for '{param}': expected {wanted}, but got {_kind(value)} instead.", param, "invalid_type")


def a_string(param: str, value: Any) -> None:
    if not isinstance(value, str):
        wrong_type(param, "a string", value)


def a_boolean(param: str, value: Any) -> None:
    if not isinstance(value, bool):
        wrong_type(param, "a boolean", value)


def an_array(param: str, value: Any) -> None:
    if not isinstance(value, list):
        wrong_type(param, "an array", value)


def an_object(param: str, value: Any) -> None:
    if not isinstance(value, dict):
        wrong_type(param, "an object", value)


def _bounded(param: str, value: float, word: str, low: float | None, high: float | None) -> None:
    if low is not None and value < low:
        refuse(
            f"Invalid '{param}': {word} below minimum value. Expected a value >= {low}, but got {value} instead.",
            param,
            f"{word}_below_min_value",
        )
    if high is not None and value > high:
        refuse(
            f"Invalid '{param}': {word} above maximum value. Expected a value <= {high}, but got {value} instead.",
            param,
            f"{word}_above_max_value",
        )


def a_number(low: float | None = None, high: float | None = None) -> Rule:
    def rule(param: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            wrong_type(param, "a decimal", value)
        _bounded(param, value, "decimal", low, high)

    return rule


def an_integer(low: int | None = None, high: int | None = None) -> Rule:
    def rule(param: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            wrong_type(param, "an integer", value)
        _bounded(param, value, "integer", low, high)

    return rule


def one_of(*values: str) -> Rule:
    *some, last = (f"'{value}'" for value in values)
    listed = f"{', '.join(some)}, and {last}" if some else last

    def rule(param: str, value: Any) -> None:
        a_string(param, value)
        if value not in values:
            refuse(f"Invalid value: '{value}'. Supported values are: {listed}.", param, "invalid_value")

    return rule


def check(body: dict[str, Any], rules: Rules, prefix: str = "") -> None:
    """Hold each field that is there, and not null, against its rule. Fields without a rule are let through."""
    for name, value in body.items():
        if value is not None and (rule := rules.get(name)) is not None:
            rule(prefix + name, value)


def body_of(request: Request) -> dict[str, Any]:
    """The request's JSON object."""
    body = request.body
    if request.invalid_json or not isinstance(body, dict):
        refuse(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
        )
    return body


def model_of(body: dict[str, Any], settings: Settings) -> str:
    """The model's name, one of those that are served."""
    model = body.get("model")
    if model is None or model == "":
        refuse("you must provide a model parameter")
    a_string("model", model)
    assert isinstance(model, str)
    if settings.models is not None and model not in settings.models:
        refuse(
            f"The model `{model}` does not exist or you do not have access to it.", None, "model_not_found", status=404
        )
    return model
