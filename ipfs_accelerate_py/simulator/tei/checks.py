"""Requests judged as TEI judges them: first what does not fit its types, in plain text, then what its rules refuse."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from ipfs_accelerate_py.simulator.text import count_tokens
from ipfs_accelerate_py.simulator.wire import Problem, Refused, Request

__all__ = [
    "MOST_INPUT",
    "MOST_INPUTS",
    "Text",
    "body_of",
    "check",
    "check_batch",
    "invalid",
    "sized",
    "texts_of",
    "unreadable",
]

#: The limits that ``/info`` speaks of.
MOST_INPUT: Final = 512
MOST_INPUTS: Final = 32

#: A text, or its token ids.
Text = str | list[int]
_DIRECTIONS: Final = ("Left", "Right", "left", "right")


def invalid(message: str, kind: str = "Validation", status: int = 413) -> NoReturn:
    """Refuse as the server's rules do."""
    raise Refused(Problem(status, message, kind))


def unreadable(message: str, status: int = 422) -> NoReturn:
    """Refuse what does not fit the types; the framework does so, in plain text."""
    raise Refused(
        Problem(status, f"Failed to deserialize the JSON body into the target type: {message}", "deserialize")
    )


def body_of(request: Request, *required: str) -> dict[str, Any]:
    """The request's JSON object, with all its required fields."""
    body = request.body
    if request.invalid_json or body is None:
        unreadable("expected value at line 1 column 1", 400)
    if not isinstance(body, dict):
        unreadable("invalid type: expected struct at line 1 column 1")
    for name in required:
        if body.get(name) is None:
            unreadable(f"missing field `{name}` at line 1 column 2")
    return body


def check(body: dict[str, Any]) -> None:
    """The options that all the endpoints share."""
    for name in ("normalize", "truncate", "raw_scores", "return_text", "add_special_tokens", "skip_special_tokens"):
        if body.get(name) is not None and not isinstance(body[name], bool):
            unreadable(f"{name}: invalid type, expected a boolean at line 1 column 2")
    if body.get("truncation_direction") is not None and body["truncation_direction"] not in _DIRECTIONS:
        unreadable("truncation_direction: unknown variant, expected `Left` or `Right` at line 1 column 2")
    if body.get("prompt_name") is not None:
        invalid(
            f"`default-prompts` have not been defined: {body['prompt_name']!r} is no prompt of this model",
            "Tokenizer",
            422,
        )
    dimensions = body.get("dimensions")
    if dimensions is not None and (isinstance(dimensions, bool) or not isinstance(dimensions, int) or dimensions < 0):
        unreadable("dimensions: invalid type, expected usize at line 1 column 2")
    if dimensions == 0:
        invalid("`dimensions` should be positive")


def texts_of(given: Any, name: str) -> list[Text]:
    """One input or a batch of them, as a batch."""
    if isinstance(given, str) or (isinstance(given, list) and given and all(_is_id(each) for each in given)):
        given = [given]
    if not isinstance(given, list):
        unreadable(f"{name}: data did not match any variant of untagged enum Input at line 1 column 2")
    for each in given:
        if not (isinstance(each, str) or (isinstance(each, list) and all(_is_id(one) for one in each))):
            unreadable(f"{name}: data did not match any variant of untagged enum Input at line 1 column 2")
    check_batch(given, name)
    return given


def check_batch(given: list[Any], name: str) -> None:
    if not given:
        invalid(f"`{name}` cannot be empty", "Empty", 400)
    if len(given) > MOST_INPUTS:
        invalid(f"batch size {len(given)} > maximum allowed batch size {MOST_INPUTS}")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def sized(body: dict[str, Any], *texts: Text) -> int:
    """Tokens of one input (of a pair, of both), with the two special ones; truncated where that was asked for."""
    tokens = 2 + sum(count_tokens(each) if isinstance(each, str) else len(each) for each in texts)
    if not any(texts):
        invalid("`inputs` cannot be empty", "Empty", 400)
    if tokens > MOST_INPUT:
        if not body.get("truncate"):
            invalid(f"`inputs` must have less than {MOST_INPUT} tokens. Given: {tokens}")
        return MOST_INPUT
    return tokens
