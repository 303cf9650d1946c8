"""Checking the bodies that clients send, for every ingress: what is wrong is refused with its field's name. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import InvalidRequest

__all__ = ["FORBIDDEN", "Fields", "Wrong", "checked", "decoded", "forbidden", "wrong_field", "wrong_of"]

Fields = dict[str, msgspec.Raw]

#: Would choose the target's address or credentials if a target that is a gateway itself obeyed them; ours are chosen by
#: whoever runs this, so they are refused rather than passed on.
FORBIDDEN = frozenset(
    {
        "api_base",
        "api_key",
        "api_type",
        "api_version",
        "base_url",
        "custom_llm_provider",
        "default_headers",
        "extra_headers",
        "extra_query",
        "headers",
        "organization",
    }
)

_decode_fields = msgspec.json.Decoder(Fields).decode
_decode_any = msgspec.json.Decoder().decode


class Wrong(NamedTuple):
    """What msgspec says of a body: the field's place, whether it is ``missing`` (the place names it then), and types
    that were ``expected`` and ``got``, or else its own ``text``."""

    place: str
    missing: bool
    expected: tuple[str, ...]
    got: str
    text: str


_MISSING = re.compile(r"^Object missing required field `([^`]+)`")
_EXPECTED = re.compile(r"^Expected `(.+)`, got `([^`]+)`")
_WHERE = re.compile(r" - at `\$\.?(.*)`$")


def wrong_of(text: str) -> Wrong:
    """The words of a `msgspec.ValidationError`, taken apart."""
    found = _WHERE.search(text)
    place = found[1] if found is not None else ""
    text = text[: found.start()] if found is not None else text
    if (missing := _MISSING.match(text)) is not None:
        return Wrong(f"{place}.{missing[1]}" if place else missing[1], True, (), "", text)
    if (expected := _EXPECTED.match(text)) is not None:
        return Wrong(place, False, tuple(expected[1].split(" | ")), expected[2], text)
    return Wrong(place, False, (), "", text)


#: JSON's own words for msgspec's.
_WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "bytes": "string"}


def wrong_field(text: str) -> InvalidRequest:
    """A field that is wrong, in OpenAI's words."""
    wrong = wrong_of(text)
    place = wrong.place
    if wrong.missing:
        return bad_request(f"Missing required parameter: '{place}'.", "missing_required_parameter", place)
    if wrong.expected:
        wanted = " or ".join(_WORDS.get(word, word) for word in wrong.expected)
        got = _WORDS.get(wrong.got, wrong.got)
        if not place:
            return bad_request(f"The body must be a JSON {wanted}, but got {got}.", "invalid_type")
        return bad_request(f"Invalid type for '{place}': expected {wanted}, but got {got}.", "invalid_type", place)
    text = wrong.text
    return bad_request(f"Invalid value for '{place}': {text}." if place else f"{text}.", "invalid_value", place or None)


def forbidden(name: str) -> InvalidRequest:
    """A field of `FORBIDDEN`, in OpenAI's words."""
    return bad_request(
        f"Unsupported parameter: '{name}'. Where a model is served and with which key is set by this gateway's "
        "configuration, never by a request.",
        "unsupported_parameter",
        name,
    )


def checked(
    body: bytes,
    decoder: msgspec.json.Decoder[Any],
    *,
    wrong: Callable[[str], InvalidRequest] = wrong_field,
    refuse: Callable[[str], InvalidRequest] = forbidden,
) -> tuple[Any, Fields]:
    """The body as types, and as top-level fields kept as they are written.

    Raises `InvalidRequest` (400) whose ``param`` names the field that is wrong, in the words of ``wrong``; ``refuse``
    has those for a field of `FORBIDDEN`.
    """
    try:
        if not body.isascii():
            body.decode()  # what is passed on as it is written has to be text as well
        typed = decoder.decode(body)
        fields = _decode_fields(body)
    except msgspec.ValidationError as problem:
        raise wrong(str(problem)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise _no_json(problem) from None
    if not FORBIDDEN.isdisjoint(fields):
        raise refuse(min(FORBIDDEN & fields.keys()))
    return typed, fields


def decoded(body: bytes) -> Any:
    """The whole body, for another format; what a check has not looked into may yet be too large or too deep."""
    try:
        return _decode_any(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise _no_json(problem) from None


def _no_json(problem: Exception) -> InvalidRequest:
    if isinstance(problem, UnicodeDecodeError):
        return bad_request(f"The body is not valid UTF-8 (byte {problem.start}).", "invalid_utf8")
    if isinstance(problem, RecursionError):
        return bad_request("The body is nested too deeply.", "invalid_json")
    if isinstance(problem, msgspec.ValidationError):  # a number that no machine has; the place has no names then
        return bad_request(f"{wrong_of(str(problem)).text} in the body.", "invalid_value")
    return bad_request(f"The body is not valid JSON: {problem}.", "invalid_json")
