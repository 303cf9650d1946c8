"""Requests judged as TGI judges them: first what does not fit its types, in plain text, then what its rules refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from ipfs_accelerate_py.simulator.wire import Problem, Refused, Request

__all__ = [
    "MOST_INPUT",
    "MOST_STOPS",
    "MOST_TOKENS",
    "MOST_TOP",
    "Rules",
    "a_boolean",
    "a_float",
    "a_string",
    "an_unsigned",
    "anything",
    "body_of",
    "check",
    "check_parameters",
    "invalid",
    "strings",
    "unreadable",
]

#: The limits that ``/info`` speaks of.
MOST_INPUT: Final = 8191
MOST_TOKENS: Final = 8192
MOST_STOPS: Final = 4
MOST_TOP: Final = 5
MOST_BEST_OF: Final = 2

Rule = tuple[str, Callable[[Any], bool]]
Rules = Mapping[str, Rule]


def invalid(message: str, kind: str = "validation", status: int = 422) -> NoReturn:
    """Refuse as the server's rules do."""
    raise Refused(Problem(status, message, kind))


def unreadable(message: str) -> NoReturn:
    """Refuse what does not fit the types; the framework does so, in plain text."""
    invalid(f"Failed to deserialize the JSON body into the target type: {message}", "deserialize")


a_string: Final[Rule] = ("a string", lambda value: isinstance(value, str))
a_boolean: Final[Rule] = ("a boolean", lambda value: isinstance(value, bool))
a_float: Final[Rule] = ("f32", lambda value: isinstance(value, int | float) and not isinstance(value, bool))
an_unsigned: Final[Rule] = ("u32", lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0)
strings: Final[Rule] = (
    "a sequence",
    lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
)
anything: Final[Rule] = ("a value", lambda value: True)


def body_of(request: Request, *required: str) -> dict[str, Any]:
    """The request's JSON object, with all its required fields."""
    body = request.body
    if request.invalid_json or body is None:
        invalid("Failed to parse the request body as JSON: expected value at line 1 column 1", "deserialize", 400)
    if not isinstance(body, dict):
        unreadable("invalid type: expected struct at line 1 column 1")
    for name in required:
        if body.get(name) is None:
            unreadable(f"missing field `{name}` at line 1 column 2")
    return body


def check(body: dict[str, Any], rules: Rules, prefix: str = "") -> None:
    """Hold each field that is there, and not null, against its rule. Unknown fields are let through, as TGI does."""
    for name, (wanted, fits) in rules.items():
        value = body.get(name)
        if value is not None and not fits(value):
            unreadable(f"{prefix}{name}: invalid type: {_kind(value)}, expected {wanted} at line 1 column 2")


def _kind(value: Any) -> str:
    kinds = {str: "string", bool: "boolean", int: "integer", float: "floating point", list: "sequence", dict: "map"}
    return f"{kinds.get(type(value), 'value')} `{value}`"


_PARAMETERS: Final[Rules] = {
    "adapter_id": a_string,
    "best_of": an_unsigned,
    "decoder_input_details": a_boolean,
    "details": a_boolean,
    "do_sample": a_boolean,
    "frequency_penalty": a_float,
    "grammar": ("a map", lambda value: isinstance(value, dict)),
    "max_new_tokens": an_unsigned,
    "repetition_penalty": a_float,
    "return_full_text": a_boolean,
    "seed": an_unsigned,
    "stop": strings,
    "temperature": a_float,
    "top_k": ("i32", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "top_n_tokens": an_unsigned,
    "top_p": a_float,
    "truncate": an_unsigned,
    "typical_p": a_float,
    "watermark": a_boolean,
}


def check_parameters(parameters: dict[str, Any], *, stream: bool) -> None:
    """The rules of ``parameters``; what is said of a broken one is in our own words, not in the server's."""
    check(parameters, _PARAMETERS, "parameters.")
    given = {name: value for name, value in parameters.items() if value is not None}
    best_of = given.get("best_of", 1)
    if best_of != 1 and stream:
        invalid("a stream has one text: `best_of` must be 1")
    if given.get("decoder_input_details") and stream:
        invalid("a stream has no `decoder_input_details`")
    if not 0 < best_of <= MOST_BEST_OF:
        invalid(f"`best_of` is {best_of}; it may be 1 to {MOST_BEST_OF}")
    sampled = given.get("do_sample") or any(name in given for name in ("temperature", "top_k", "top_p", "typical_p"))
    if best_of > 1 and not sampled:
        invalid("you must use sampling when `best_of` is > 1")
    if best_of > 1 and "seed" in given:
        invalid("several texts (`best_of`) with one `seed` would be the same")
    for name in ("temperature", "repetition_penalty", "top_k"):
        if given.get(name, 1) <= 0:
            invalid(f"`{name}` has to be above 0")
    if not -2 <= given.get("frequency_penalty", 0) <= 2:
        invalid("`frequency_penalty` may be -2 to 2")
    for name in ("top_p", "typical_p"):
        if not 0 < given.get(name, 0.5) < 1:
            invalid(f"`{name}` has to be between 0 and 1, and neither")
    if given.get("max_new_tokens") == 0:
        invalid("`max_new_tokens` has to be above 0")
    if len(given.get("stop", ())) > MOST_STOPS:
        invalid(f"`stop` has {len(given['stop'])} sequences; it may have {MOST_STOPS}")
    if given.get("top_n_tokens", 0) > MOST_TOP:
        invalid(f"`top_n_tokens` is {given['top_n_tokens']}; it may be 0 to {MOST_TOP}")
    truncate = given.get("truncate", 1)
    if not 0 < truncate <= MOST_INPUT:
        invalid(f"`truncate` is {truncate}; it has to be above 0 and below {MOST_INPUT}")
