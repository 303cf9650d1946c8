"""Requests judged as Ollama judges them: the words are those of Go's JSON decoder and of the server's own checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn

from ipfs_accelerate_py.simulator.wire import Problem, Refused, Request, Settings

__all__ = ["body_of", "check", "check_options", "model_of", "refuse", "same_model", "think_of"]

#: Types of Go's structs, as the decoder names them, and what JSON may hold there.
Types = Mapping[str, tuple[str, type | tuple[type, ...]]]

_FLOAT: Final = ("float32", (int, float))
_INT: Final = ("integer", int)
_BOOL: Final = ("boolean", bool)
_OPTIONS: Final[Types] = {
    "frequency_penalty": _FLOAT,
    "main_gpu": _INT,
    "min_p": _FLOAT,
    "num_batch": _INT,
    "num_ctx": _INT,
    "num_gpu": _INT,
    "num_keep": _INT,
    "num_predict": _INT,
    "num_thread": _INT,
    "presence_penalty": _FLOAT,
    "repeat_last_n": _INT,
    "repeat_penalty": _FLOAT,
    "seed": _INT,
    "stop": ("array", list),
    "temperature": _FLOAT,
    "top_k": _INT,
    "top_p": _FLOAT,
    "typical_p": _FLOAT,
    "use_mmap": _BOOL,
}
_JSON_KINDS: Final = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
_EFFORTS: Final = ("high", "medium", "low", "max")


def refuse(message: str, status: int = 400) -> NoReturn:
    raise Refused(Problem(status, message))


def body_of(request: Request) -> dict[str, Any]:
    """The request's JSON object."""
    if request.invalid_json:
        refuse("invalid character in the body of the request")
    if request.body is None:
        refuse("missing request body")
    if not isinstance(request.body, dict):
        kind = _JSON_KINDS.get(type(request.body), "value")
        refuse(f"json: cannot unmarshal {kind} into Go value of type api.Request")
    return request.body


def check(body: dict[str, Any], types: Types, struct: str) -> None:
    """Hold each field that is there against its type; null is a field that is not there."""
    for name, value in body.items():
        known = types.get(name)
        if known is None or value is None or _is(value, known[1]):
            continue
        kind = _JSON_KINDS[type(value)]
        refuse(f"json: cannot unmarshal {kind} into Go struct field {struct}.{name} of type {known[0]}")


def check_options(body: dict[str, Any]) -> dict[str, Any]:
    """The object ``options``; members that are not known are let through, as the server only writes them to its log."""
    options = body.get("options") or {}
    if not isinstance(options, dict):
        refuse("json: cannot unmarshal options into Go struct field options of type map[string]interface {}")
    for name, value in options.items():
        known = _OPTIONS.get(name)
        if known is not None and value is not None and not _is(value, known[1]):
            refuse(f'option "{name}" must be of type {known[0]}')
    return options


def _is(value: Any, kinds: type | tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return kinds is bool or (isinstance(kinds, tuple) and bool in kinds)
    return isinstance(value, kinds)


def same_model(name: str, other: str) -> bool:
    """Whether two names are the same model: the tag ``latest`` is the one that need not be said."""
    return name.removesuffix(":latest") == other.removesuffix(":latest")


def model_of(body: dict[str, Any], settings: Settings, pulled: set[str]) -> str:
    """The model's name, one of those that are served."""
    model = body.get("model") or body.get("name")
    if not isinstance(model, str) or not model:
        refuse("model is required")
    if settings.models is not None and not any(same_model(model, one) for one in (*settings.models, *pulled)):
        refuse(f"model '{model}' not found", 404)
    return model


def think_of(body: dict[str, Any], model: str, *, thinks: bool) -> bool:
    """Whether to think first. A model that thinks does unless it is told not to; another refuses to be told so."""
    think = body.get("think")
    if think is None:
        return thinks
    if not isinstance(think, bool) and think not in _EFFORTS:
        refuse(f'invalid think value: "{think}" (must be "high", "medium", "low", "max", true, or false)')
    if think and not thinks:
        refuse(f'"{model}" does not support thinking')
    return bool(think)
