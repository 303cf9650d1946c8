"""Copies of answers: callers who share one answer get an object each, and nobody sees what another does to theirs."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.types import Chunk, Reply

__all__ = ["copied", "copied_chunk", "copied_error", "copied_reply"]

_ATOMS = frozenset({str, int, float, bool, bytes, type(None)})
_OF_REPLY = tuple(name for name in Reply.__struct_fields__ if name != "stream")


def copied(value: Any) -> Any:
    """A copy of plain data and of structs, all the way down; what it does not know is shared."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is list:
        # Vectors are most of what is copied, and there is nothing below their first number.
        if value and type(value[0]) is float:
            return value.copy()
        return [copied(item) for item in value]
    if kind is dict:
        return {key: copied(item) for key, item in value.items()}
    if kind is tuple:
        return tuple(copied(item) for item in value)
    if isinstance(value, msgspec.Struct):
        made = copy.copy(value)
        if not value.__struct_config__.frozen:
            for name in value.__struct_fields__:
                item = getattr(value, name)
                if type(item) not in _ATOMS:
                    setattr(made, name, copied(item))
        return made
    return value


def copied_reply(reply: Reply) -> Reply:
    """A reply of the same content, without its stream."""
    return Reply(**{name: copied(getattr(reply, name)) for name in _OF_REPLY})


def copied_chunk(chunk: Any) -> Any:
    """A chunk of the same content; verbatim bytes are what they are."""
    return copied(chunk) if isinstance(chunk, Chunk) else chunk


def copied_error(error: BaseException) -> BaseException:
    """The same failure as an object of its own, so that tracebacks and notes of one caller are not another's."""
    if not isinstance(error, AccelerateError):
        return error
    made = copy.copy(error)
    made.__cause__ = error.__cause__
    return made
